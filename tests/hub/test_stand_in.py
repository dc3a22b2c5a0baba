"""The stand-in Hub, as the real clients find it: what tests of hf-emms rely on without looking at it themselves."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.hub_client import WEIGHTS, Client, code
from tests.hub import Hub
from tests.hub.fixtures import run_client


def test_commits_and_pull_requests_are_made_once_and_a_stale_parent_is_refused(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    told = client(
        code(f"""
        api.create_repo("ada/model")
        upload = lambda: api.upload_folder(repo_id="ada/model", folder_path={str(folder)!r}).oid
        def commit(text, api=api, **options):
            operations = [Add("README.md", text.encode())]
            return api.create_commit("ada/model", operations, commit_message="Say " + text, **options)
        first, again = upload(), upload()
        commit("two", parent_commit=first)
        stale = said(lambda: commit("three", parent_commit=first).oid)
        guest = HfApi(token=os.environ["GUEST"])
        pull = commit("four", guest, create_pr=True)
        commit("five", guest, revision=pull.pr_revision)
        pulls = [[one.num, one.status, one.git_reference] for one in api.get_repo_discussions("ada/model")]
        print(json.dumps([first == again, stale, pulls, said(lambda: commit("six", guest).oid)]))
        """),
        HF_TOKEN=hub.token(user="ada"),
        GUEST=hub.token(user="guest"),
    )
    assert told == [True, ["HfHubHTTPError", 412], [[1, "open", "refs/pr/1"]], ["HfHubHTTPError", 403]]
    assert hub.store.read("ada/model", "README.md") == b"two"
    assert hub.store.read("ada/model", "README.md", revision="refs/pr/1") == b"five"
    assert hub.store.read("ada/model", "model.safetensors") == WEIGHTS
    assert hub.store.repo("ada/model").resolve("main").files["model.safetensors"].lfs
    assert hub.count("PUT /lfs-upload/*") == 1


def test_rights_are_those_of_the_token(hub: Hub, client: Client) -> None:
    hub.store.put_files("org/model", {"README.md": "# One\n", "model.safetensors": b"1"})
    hub.store.put_files("org/gated", {"README.md": "# Gated\n", "model.safetensors": b"1"}, gated="manual")
    roles = {
        "reader": hub.token(user="ada", role="read", orgs=["org"]),
        "stranger": hub.token(user="eve"),
        "viewer": hub.token(user="vic", orgs={"org": "read"}),
        "writer": hub.token(user="ada", orgs=["org"]),
        "scoped": hub.token(user="ada", role="fineGrained", orgs=["org"], scopes={"org": ["repo.write"]}),
        "elsewhere": hub.token(user="ada", role="fineGrained", orgs=["org"], scopes={"ada": ["repo.write"]}),
        "invalid": "hf_nobody",
    }
    told = client(
        code(f"""
        out = {{}}
        for name, token in {roles!r}.items():
            one = HfApi(token=token)
            write = said(lambda: len(one.upload_file(
                repo_id="org/model", path_or_fileobj=name.encode(), path_in_repo="a.txt")))
            download = said(lambda: bool(one.hf_hub_download(
                "org/gated", "model.safetensors", cache_dir=os.environ["HF_HOME"] + name)))
            out[name] = [write if isinstance(write, list) else "ok", download]
        print(json.dumps(out))
        """)
    )
    refused, gated = ["HfHubHTTPError", 403], ["GatedRepoError", 403]
    assert told == {
        "reader": [refused, True],
        "stranger": [refused, gated],
        "viewer": [refused, True],
        "writer": ["ok", True],
        "scoped": ["ok", True],
        "elsewhere": [refused, True],
        "invalid": [["HfHubHTTPError", 401]] * 2,
    }


def test_datasets_are_loaded_streamed_and_read_from_their_converted_branch(demo_hub: Hub, tmp_path: Path) -> None:
    told = run_client(
        demo_hub,
        """
        import json
        from datasets import load_dataset
        whole = load_dataset("emms-zoo/emoji-captions")
        stream = load_dataset("jxie/coco_captions", split="validation", streaming=True)
        converted = load_dataset("jxie/coco_captions", revision="refs/convert/parquet", split="test")
        print(json.dumps([whole["test"].num_rows, next(iter(stream))["image"].size, converted.num_rows]))
        """,
        tmp_path,
    )
    assert told == [640, [128, 96], 128]
