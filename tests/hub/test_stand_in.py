"""The stand-in Hub, as the real clients find it: each test runs huggingface_hub, datasets or hf-emms against it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from tests import ROOT
from tests.helpers.hub_client import WEIGHTS, Client, code
from tests.hub import Hub, running_hub
from tests.hub.fixtures import run_client


def test_repositories_are_created_hidden_moved_and_deleted(hub: Hub, client: Client) -> None:
    mine = hub.token(user="ada", orgs=["org"])
    told = client(
        code("""
        stranger = HfApi(token=False)
        api.create_repo("org/model", private=True)
        out = {
            "who": [api.whoami()["name"], [org["name"] for org in api.whoami()["orgs"]]],
            "again": said(lambda: api.create_repo("org/model")),
            "exist_ok": api.create_repo("org/model", exist_ok=True).repo_id,
            "hidden": said(lambda: stranger.model_info("org/model").id),
            "seen": api.model_info("org/model").private,
        }
        api.update_repo_settings("org/model", private=False)
        out["opened"] = stranger.model_info("org/model").private
        api.move_repo("org/model", "ada/renamed")
        out["old name"] = api.model_info("org/model").id
        out["old file"] = open(hf_hub_download("org/model", ".gitattributes")).read(6)
        api.delete_repo("ada/renamed")
        out["deleted"] = said(lambda: api.model_info("ada/renamed").id)
        print(json.dumps(out))
        """),
        HF_TOKEN=mine,
    )
    assert told == {
        "who": ["ada", ["org"]],
        "again": ["HfHubHTTPError", 409],
        "exist_ok": "org/model",
        "hidden": ["RepositoryNotFoundError", 401],
        "seen": True,
        "opened": False,
        "old name": "ada/renamed",
        "old file": "*.arro",
        "deleted": ["RepositoryNotFoundError", 404],
    }


def test_folders_are_uploaded_with_lfs_in_one_or_many_parts_and_only_once(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "sub" / "small.bin").write_bytes(b"small")
    hub.multipart_from, hub.part_size = 1 << 20, 300_000
    first, again, one = client(
        code(f"""
        api.create_repo("ada/model")
        first = api.upload_folder(repo_id="ada/model", folder_path={str(folder)!r})
        again = api.upload_folder(repo_id="ada/model", folder_path={str(folder)!r})
        one = api.upload_file(repo_id="ada/model", path_or_fileobj=b"x", path_in_repo="notes.txt")
        print(json.dumps([first.oid, again.oid, one.oid]))
        """),
        HF_TOKEN=hub.token(user="ada"),
    )
    assert first == again != one
    assert hub.store.read("ada/model", "model.safetensors") == WEIGHTS
    assert hub.store.read("ada/model", "sub/small.bin") == b"small"
    assert hub.store.repo("ada/model").resolve("main").files["model.safetensors"].lfs
    assert hub.count("PUT /lfs-upload/*/[1-4]") == 4
    assert hub.count("POST */verify") == 2
    assert hub.count("POST */commit/main") == 2


def test_a_stale_parent_is_refused_and_a_pull_request_is_merged(hub: Hub, client: Client) -> None:
    hub.store.put_files("ada/model", {"README.md": "# One\n", "other.txt": "x"})
    told = client(
        code("""
        def commit(text, **options):
            operations = [Add("README.md", text.encode())]
            return api.create_commit("ada/model", operations, commit_message="Say " + text.strip(), **options)
        start = api.model_info("ada/model").sha
        guest = HfApi(token=os.environ["GUEST"])
        pull = guest.create_commit("ada/model", [Add("added.md", b"1\\n")], commit_message="Add", create_pr=True)
        guest.create_commit("ada/model", [Add("added.md", b"2\\n")], commit_message="Mend", revision=pull.pr_revision)
        commit("# Two\\n", parent_commit=start)
        out = {"stale": said(lambda: commit("# Three\\n", parent_commit=start).oid)}
        guest.comment_discussion("ada/model", pull.pr_num, "please")
        guest.rename_discussion("ada/model", pull.pr_num, "Add a file")
        details = api.get_discussion_details("ada/model", pull.pr_num)
        out["events"] = [event.type for event in details.events]
        out["diff"] = details.diff
        out["pull"] = [details.status, details.title, details.author, details.conflicting_files]
        out["guest may not merge"] = said(lambda: guest.merge_pull_request("ada/model", pull.pr_num))
        api.merge_pull_request("ada/model", pull.pr_num)
        details = api.get_discussion_details("ada/model", pull.pr_num)
        out["merged"] = [details.status, details.merge_commit_oid == api.model_info("ada/model").sha]
        talk = api.create_discussion("ada/model", "A question", description="why?")
        api.change_discussion_status("ada/model", talk.num, "closed")
        out["open"] = [one.num for one in api.get_repo_discussions("ada/model", discussion_status="open")]
        pulls = api.get_repo_discussions("ada/model", discussion_type="pull_request", author="guest")
        out["pulls"] = [[one.num, one.status, one.git_reference] for one in pulls]
        print(json.dumps(out))
        """),
        HF_TOKEN=hub.token(user="ada"),
        GUEST=hub.token(user="guest"),
    )
    assert told["stale"] == ["HfHubHTTPError", 412]
    assert told["events"] == ["comment", "commit", "commit", "comment", "title-change"]
    assert told["diff"].splitlines()[-1] == "+2"
    assert "README.md" not in told["diff"]
    assert told["pull"] == ["open", "Add a file", "guest", []]
    assert told["guest may not merge"] == ["HfHubHTTPError", 403]
    assert told["merged"] == ["merged", True]
    assert told["open"] == []
    assert told["pulls"] == [[1, "merged", "refs/pr/1"]]
    assert hub.store.read("ada/model", "README.md") == b"# Two\n"
    assert hub.store.read("ada/model", "added.md") == b"2\n"


def test_a_pull_request_against_a_changed_file_conflicts(hub: Hub, client: Client) -> None:
    hub.store.put_files("ada/model", {"README.md": "# One\n"})
    conflicting, merge = client(
        code("""
        api.create_commit("ada/model", [Add("README.md", b"# A\\n")], commit_message="Say A", create_pr=True)
        api.create_commit("ada/model", [Add("README.md", b"# B\\n")], commit_message="Say B")
        details = api.get_discussion_details("ada/model", 1)
        print(json.dumps([details.conflicting_files, said(lambda: api.merge_pull_request("ada/model", 1))]))
        """),
        HF_TOKEN=hub.token(user="ada"),
    )
    assert conflicting == ["README.md"]
    assert merge == ["HfHubHTTPError", 409]


def test_branches_tags_deletions_and_history(hub: Hub, client: Client) -> None:
    first = hub.store.put_files("ada/model", {"a.txt": "1", "old/b.txt": "2", "old/c.txt": "3"})
    told = client(
        code("""
        api.create_tag("ada/model", tag="v1")
        api.create_branch("ada/model", branch="try/it")
        api.create_commit("ada/model", [Delete("old/")], commit_message="Tidy", revision="try/it")
        refs = api.list_repo_refs("ada/model", include_pull_requests=True)
        out = {
            "branches": [one.name for one in refs.branches],
            "tags": [[one.name, one.ref, one.target_commit] for one in refs.tags],
            "again": [said(lambda: api.create_tag("ada/model", tag="v1")),
                      said(lambda: api.create_branch("ada/model", branch="try/it"))],
            "on branch": api.list_repo_files("ada/model", revision="try/it"),
            "at tag": api.list_repo_files("ada/model", revision="v1"),
            "history": [one.title for one in api.list_repo_commits("ada/model", revision="try/it")],
            "no such file": said(lambda: api.delete_file("nope.txt", "ada/model").oid),
            "no such revision": said(lambda: api.model_info("ada/model", revision="nope").sha),
            "main stays": said(lambda: api.delete_branch("ada/model", branch="main")),
        }
        api.delete_branch("ada/model", branch="try/it")
        api.delete_tag("ada/model", tag="v1")
        refs = api.list_repo_refs("ada/model")
        out["left"] = [[one.name for one in refs.branches], refs.tags]
        print(json.dumps(out))
        """),
        HF_TOKEN=hub.token(user="ada"),
    )
    assert told["branches"] == ["main", "try/it"]
    assert told["tags"] == [["v1", "refs/tags/v1", first]]
    assert told["again"] == [["HfHubHTTPError", 409]] * 2
    assert told["on branch"] == [".gitattributes", "a.txt"]
    assert told["at tag"] == [".gitattributes", "a.txt", "old/b.txt", "old/c.txt"]
    assert told["history"] == ["Tidy", "Add files", "initial commit"]
    assert told["no such file"] == ["RemoteEntryNotFoundError", 404]
    assert told["no such revision"] == ["RevisionNotFoundError", 404]
    assert told["main stays"] == ["HfHubHTTPError", 403]
    assert told["left"] == [["main"], []]


def test_lists_are_searched_filtered_sorted_and_paged(hub: Hub, client: Client) -> None:
    for number in range(7):
        card = f"---\nlibrary_name: timm\npipeline_tag: image-classification\ntags: [even-{number % 2 == 0}]\n---\n"
        hub.store.put_files(f"org/net-{number}", {"README.md": card}, downloads=number, likes=7 - number)
    hub.store.put_files("other/text-net", {"README.md": "---\npipeline_tag: fill-mask\n---\n"})
    hub.store.put_files("org/secret", {"README.md": ""}, private=True)
    hub.store.put_files("org/rows", {"README.md": "---\nlanguage: no\n---\n"}, "dataset")
    hub.page_size = 3
    told = client(
        code("""
        def ids(**options):
            return [one.id.partition("/")[2] for one in api.list_models(**options)]
        full = next(api.list_models(search="net-3", full=True))
        print(json.dumps({
            "all": ids(),
            "author": len(ids(author="org")),
            "task": ids(pipeline_tag="fill-mask"),
            "filters": ids(filter=["timm", "even-True"], sort="downloads"),
            "likes": ids(sort="likes", limit=4, author="org"),
            "search": ids(search="NET-6"),
            "full": [full.author, len(full.sha), [one.rfilename for one in full.siblings], full.pipeline_tag],
            "expand": next(api.list_models(search="net-3", expand=["downloads"])).downloads,
            "datasets": [[one.id, one.tags] for one in api.list_datasets(author="org")],
        }))
        """)
    )
    assert len(told["all"]) == 8
    assert "secret" not in told["all"]
    assert told["author"] == 7
    assert told["task"] == ["text-net"]
    assert told["filters"] == ["net-6", "net-4", "net-2", "net-0"]
    assert told["likes"] == ["net-0", "net-1", "net-2", "net-3"]
    assert told["search"] == ["net-6"]
    assert told["full"] == ["org", 40, [".gitattributes", "README.md"], "image-classification"]
    assert told["expand"] == 3
    assert told["datasets"] == [["org/rows", ["language:no", "region:us"]]]
    assert hub.count("GET /api/models") > 9


def test_metadata_of_files_and_weights(demo_hub: Hub, tmp_path: Path) -> None:
    told = run_client(
        demo_hub,
        code("""
        info = api.model_info("emms-zoo/vit-random", files_metadata=True)
        weights = next(one for one in info.siblings if one.rfilename == "model.safetensors")
        paths = api.get_paths_info("emms-zoo/vit-random", ["config.json", "nope", "model.safetensors"], expand=True)
        tree = list(api.list_repo_tree("jxie/coco_captions", repo_type="dataset", recursive=True, expand=True))
        weights_in = lambda revision: api.file_exists("microsoft/git-base-coco", "model.safetensors", revision=revision)
        print(json.dumps({
            "info": [info.library_name, info.config["model_type"], info.card_data.license, info.tags],
            "weights": [weights.size == weights.lfs.size, len(weights.lfs.sha256)],
            "parameters": [info.safetensors.total, sum(api.get_safetensors_metadata(info.id).parameter_count.values())],
            "paths": [[one.path, one.lfs is not None, one.last_commit.title] for one in paths],
            "tree": [[type(one).__name__, one.path] for one in tree],
            "missing": said(lambda: list(api.list_repo_tree("emms-zoo/vit-random", "nope"))),
            "weights on main and in the pull request": [weights_in("main"), weights_in("refs/pr/1")],
        }))
        """),
        tmp_path,
    )
    assert told["info"][:3] == ["transformers", "vit", "apache-2.0"]
    assert {"transformers", "safetensors", "vit", "license:apache-2.0"} <= set(told["info"][3])
    assert told["weights"] == [True, 64]
    assert told["parameters"][0] == told["parameters"][1] > 0
    assert told["paths"] == [
        ["config.json", False, "Add safetensors"],
        ["model.safetensors", True, "Add safetensors"],
    ]
    assert ["RepoFolder", "data"] in told["tree"]
    assert ["RepoFile", "data/train-00000-of-00001.parquet"] in told["tree"]
    assert told["missing"] == ["RemoteEntryNotFoundError", 404]
    assert told["weights on main and in the pull request"] == [False, True]


def test_datasets_are_loaded_streamed_and_found_in_their_converted_branch(demo_hub: Hub, tmp_path: Path) -> None:
    told = run_client(
        demo_hub,
        """
        import json
        from datasets import load_dataset
        whole = load_dataset("emms-zoo/emoji-captions")
        stream = load_dataset("jxie/coco_captions", split="validation", streaming=True)
        converted = load_dataset("jxie/coco_captions", revision="refs/convert/parquet", split="test")
        print(json.dumps([
            {name: part.num_rows for name, part in whole.items()},
            whole["test"].column_names,
            next(iter(stream))["image"].size,
            converted.num_rows,
        ]))
        """,
        tmp_path,
    )
    assert told == [{"test": 640}, ["image", "caption"], [128, 96], 128]


def test_its_state_survives_a_restart(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        sha = hub.store.put_files("ada/model", {"a.txt": "1"}, ref="refs/pr/4", message="Propose")
        hub.store.create_repo("ada/app", "space")
    with running_hub(tmp_path) as hub:
        repo = hub.store.repo("ada/model")
        assert repo.refs["refs/pr/4"] == sha
        assert repo.discussion(4).title == "Propose"
        assert hub.store.read("ada/model", "a.txt", revision="refs/pr/4") == b"1"
        assert hub.store.repo("ada/app", "space").space.sdk == "gradio"


def test_commits_from_many_at_once_lose_nothing(hub: Hub, client: Client) -> None:
    hub.store.create_repo("org/results", "dataset")
    failed = client(
        code("""
        from concurrent.futures import ThreadPoolExecutor
        def publish(number):
            operations = [Add(f"data/{number}.json", b"%d" % number)]
            return said(lambda: len(api.create_commit(
                "org/results", operations, commit_message=f"Add {number}", repo_type="dataset").oid))
        with ThreadPoolExecutor(8) as pool:
            print(json.dumps([one for one in pool.map(publish, range(24)) if one != 40]))
        """),
        HF_TOKEN=hub.token(user="ada", orgs=["org"]),
    )
    assert failed == []
    assert len(hub.store.paths("org/results", "dataset")) == 25
    assert len(hub.store.repo("org/results", "dataset").commits) == 25


def test_the_command_prints_its_address_and_serves_the_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.hub", "--folder", str(tmp_path)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        stop = threading.Timer(60, process.kill)
        stop.start()
        try:
            name, _, address = process.stdout.readline().strip().partition("=")
            assert name == "HF_ENDPOINT"
            with urllib.request.urlopen(f"{address}/api/datasets/emms-zoo/emoji-captions") as answer:
                assert answer.status == 200
        finally:
            stop.cancel()
            process.kill()
