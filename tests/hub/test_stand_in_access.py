"""The stand-in Hub: downloads that break, faults on request, what a token allows, Spaces."""

from __future__ import annotations

import pytest

from tests.helpers.hub_client import WEIGHTS, Client, code
from tests.hub import Hub


def test_a_download_that_is_cut_is_resumed_where_it_broke(hub: Hub, client: Client) -> None:
    # The client writes pieces of 10 MiB: of a smaller file nothing is left after a cut.
    piece, size = 10 << 20, 16 << 20
    hub.store.put_files("ada/model", {"model.safetensors": WEIGHTS * 16, "config.json": "{}"})
    hub.fail("GET *model.safetensors", "cut", after=12 << 20)
    same = client(
        code("""
        folder = snapshot_download("ada/model")
        print(json.dumps(open(folder + "/model.safetensors", "rb").read() == bytes(range(256)) * 4096 * 16))
        """)
    )
    assert same
    served = [entry for entry in hub.requests if entry.line.startswith("GET /cdn/")]
    assert [(entry.status, entry.range) for entry in served] == [(200, None), (206, f"bytes={piece}-")]
    assert hub.bytes_sent("GET /cdn/*") == (12 << 20) + size - piece


def test_the_token_is_not_sent_to_the_content_network(hub: Hub, client: Client) -> None:
    hub.store.put_files("ada/model", {"model.safetensors": b"secret"}, private=True)
    text = client(
        code('print(json.dumps(open(hf_hub_download("ada/model", "model.safetensors")).read()))'),
        HF_TOKEN=hub.token(user="ada"),
    )
    assert text == "secret"
    assert {entry.authorized for entry in hub.requests if "/resolve/" in entry.path} == {True}
    assert {entry.authorized for entry in hub.requests if "/cdn/" in entry.path} == {False}


def test_the_server_misbehaves_as_often_as_it_was_told(hub: Hub, client: Client) -> None:
    hub.store.put_files("ada/model", {"config.json": '{"a": 1}', "big.txt": "x" * 1000})
    hub.fail("GET /api/models/ada/model", 429, retry_after=7)
    hub.fail("GET /api/models/ada/model", 500)
    hub.fail("GET /api/models/ada/model", 502, message="bad gateway")
    hub.fail("GET */tree/*", 503, retry_after=0)
    hub.fail("GET */tree/*", "drop")
    hub.fail("*/resolve/main/config.json", "stale-etag", times=2, etag="stale")
    hub.fail("GET *big.txt", "slow", seconds=0.5)
    hub.fail("POST */commit/*", 412)
    told = client(
        code("""
        def refused():
            try:
                api.model_info("ada/model")
            except HfHubHTTPError as error:
                return [error.response.status_code, error.response.headers.get("Retry-After"), error.server_message]
        out = {"refusals": [refused(), refused(), refused(), refused()]}
        out["files"] = api.list_repo_files("ada/model")
        path = hf_hub_download("ada/model", "config.json")
        out["etag"] = [os.path.basename(os.path.realpath(path)), open(path).read()]
        start = time.monotonic()
        hf_hub_download("ada/model", "big.txt")
        out["slow"] = time.monotonic() - start >= 0.5
        commit = lambda: api.upload_file(repo_id="ada/model", path_or_fileobj=b"1", path_in_repo="a").oid
        out["commits"] = [said(commit), len(said(commit))]
        print(json.dumps(out))
        """),
        HF_TOKEN=hub.token(user="ada"),
    )
    assert told["refusals"] == [
        [429, "7", "The server is having a bad day"],
        [500, None, "The server is having a bad day"],
        [502, None, "bad gateway"],
        None,
    ]
    assert told["files"] == [".gitattributes", "big.txt", "config.json"]
    assert hub.count("GET */tree/*") == 3
    assert told["etag"] == ["stale", '{"a": 1}']
    assert told["slow"]
    assert told["commits"] == [["HfHubHTTPError", 412], 40]
    with pytest.raises(ValueError, match="unknown fault 'sulk'"):
        hub.fail("*", "sulk")


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
            role = said(lambda: one.whoami()["auth"]["accessToken"]["role"])
            write = said(lambda: len(one.upload_file(
                repo_id="org/model", path_or_fileobj=name.encode(), path_in_repo="a.txt")))
            download = said(lambda: bool(one.hf_hub_download(
                "org/gated", "model.safetensors", cache_dir=os.environ["HF_HOME"] + name)))
            out[name] = [role, write if isinstance(write, list) else "ok", download]
        anyone = HfApi(token=False)
        out["anyone"] = [
            said(lambda: anyone.upload_file(repo_id="org/model", path_or_fileobj=b"1", path_in_repo="b").oid),
            said(lambda: anyone.hf_hub_download("org/gated", "model.safetensors")),
            anyone.model_info("org/gated").gated,
            said(lambda: HfApi(token={roles["stranger"]!r}).create_repo("org/new")),
        ]
        HfApi(token={roles["writer"]!r}).grant_access("org/gated", "eve")
        out["granted"] = bool(HfApi(token={roles["stranger"]!r}).hf_hub_download("org/gated", "README.md"))
        print(json.dumps(out))
        """)
    )
    refused, gated = ["HfHubHTTPError", 403], ["GatedRepoError", 403]
    assert told == {
        "reader": ["read", refused, True],
        "stranger": ["write", refused, gated],
        "viewer": ["write", refused, True],
        "writer": ["write", "ok", True],
        "scoped": ["fineGrained", "ok", True],
        "elsewhere": ["fineGrained", refused, True],
        "invalid": [["HfHubHTTPError", 401]] * 3,
        "anyone": [["RepositoryNotFoundError", 401], ["GatedRepoError", 401], "manual", refused],
        "granted": True,
    }


def test_spaces_keep_secrets_and_report_their_state(hub: Hub, client: Client) -> None:
    hub.paid.add("ada")
    told = client(
        code("""
        api.create_repo("ada/app", repo_type="space", space_sdk="gradio", space_secrets=[{"key": "A", "value": "1"}])
        out = {"empty": api.get_space_runtime("ada/app").stage}
        api.add_space_secret("ada/app", "TOKEN", "hidden", description="for the Hub")
        api.add_space_variable("ada/app", "LIMIT", "10")
        api.upload_file(repo_id="ada/app", repo_type="space", path_or_fileobj=b"1", path_in_repo="app.py")
        secrets = api.get_space_secrets("ada/app")
        out["secrets"] = {key: [one.description, hasattr(one, "value")] for key, one in secrets.items()}
        out["variables"] = {key: one.value for key, one in api.get_space_variables("ada/app").items()}
        out["running"] = api.get_space_runtime("ada/app").stage
        runtime = api.request_space_hardware("ada/app", "t4-small", sleep_time=60)
        out["hardware"] = [runtime.hardware, runtime.sleep_time]
        out["paused"] = [api.pause_space("ada/app").stage, api.restart_space("ada/app").stage]
        api.delete_space_secret("ada/app", "TOKEN")
        out["left"] = list(api.get_space_secrets("ada/app"))
        info = api.space_info("ada/app")
        out["info"] = [info.sdk, info.runtime.stage, info.card_data.app_file]
        out["listed"] = [one.id for one in api.list_spaces(author="ada")]
        out["stranger"] = said(lambda: HfApi(token=os.environ["GUEST"]).get_space_secrets("ada/app"))
        print(json.dumps(out))
        """),
        HF_TOKEN=hub.token(user="ada"),
        GUEST=hub.token(user="guest"),
    )
    assert told == {
        "empty": "NO_APP_FILE",
        "secrets": {"A": [None, False], "TOKEN": ["for the Hub", False]},
        "variables": {"LIMIT": "10"},
        "running": "RUNNING",
        "hardware": ["t4-small", 60],
        "paused": ["PAUSED", "RUNNING"],
        "left": ["A"],
        "info": ["gradio", "RUNNING", "app.py"],
        "listed": ["ada/app"],
        "stranger": ["HfHubHTTPError", 403],
    }
    assert hub.store.repo("ada/app", "space").space.secrets["A"]["value"] == "1"


def test_a_free_account_has_static_spaces_and_two_of_zero_gpu(hub: Hub, client: Client) -> None:
    told = client(
        code("""
        def made(name, sdk, hardware=None):
            space = {"repo_type": "space", "space_sdk": sdk, "space_hardware": hardware}
            return said(lambda: api.create_repo(name, **space).repo_id)
        out = [made("ada/a", "gradio"), made("ada/b", "static"), made("ada/c", "docker", "t4-small")]
        out += [made(f"ada/zero-{place}", "gradio", "zero-a10g") for place in range(3)]
        out.append(made("lab/a", "gradio", "zero-a10g"))
        out.append(said(lambda: api.request_space_hardware("ada/zero-1", "cpu-basic")))
        print(json.dumps(out))
        """),
        HF_TOKEN=hub.token(user="ada", orgs=["lab"]),
    )
    refused = ["HfHubHTTPError", 402]
    assert told == [refused, "ada/b", refused, "ada/zero-0", "ada/zero-1", ["HfHubHTTPError", 403], refused, refused]


def test_a_benchmark_gathers_the_results_of_models(hub: Hub, client: Client) -> None:
    hub.store.put_files("ada/flowers", {"eval.yaml": b"name: Flowers\n"}, "dataset")
    hub.store.put_files("ada/plain", {"README.md": b"# Plain\n"}, "dataset")
    for name, value, card in (("one", 70, b""), ("two", 90, b""), ("tuned", 95, b"---\nbase_model: ada/one\n---\n")):
        results = b"- dataset: {id: ada/flowers, task_id: all}\n  value: %d\n" % value
        hub.store.put_files(f"ada/{name}", {"README.md": card, ".eval_results/flowers.yaml": results})
    told = client(
        code("""
        out = [[one.id for one in api.list_datasets(benchmark=True)]]
        for only in (None, False):
            listed = api.get_dataset_leaderboard("ada/flowers", base_model_only=only)
            out.append([[one.rank, one.model_id, one.value] for one in listed])
        out.append(said(lambda: api.get_dataset_leaderboard("ada/plain")))
        print(json.dumps(out))
        """),
        HF_TOKEN=hub.token(user="ada"),
    )
    assert told == [
        ["ada/flowers"],
        [[1, "ada/two", 90], [2, "ada/one", 70]],
        [[1, "ada/tuned", 95], [2, "ada/two", 90], [3, "ada/one", 70]],
        ["BadRequestError", 400],
    ]
