"""hf-emms reads from a Hub over real HTTP: pinned, only what is needed, in plain words when something goes wrong."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import CommandLine, Done
from hub import Hub, running_hub
from hub.fixtures import client_environment, run_client
from safetensors.numpy import load, save

from hf_emms import demo

ENCODER = "emms-demo/encoder-minilm-static"
GOOD = "emms-demo/vit-random"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def cli(hub: Hub, home: Path) -> Iterator[CommandLine]:
    running = CommandLine(client_environment(hub, home, HF_EMMS_DEADLINE="30"), home)
    yield running
    running.close()


def files_of(name: str = "vit-random") -> dict[str, bytes]:
    folder = demo.folder_of(demo.DEMO_PREFIX + name)
    assert folder is not None
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def model(hub: Hub) -> Iterator[str]:
    """A checkpoint of this test's own, which nothing has cached."""
    id = f"org/model-{next(_numbers)}"
    hub.store.put_files(id, files_of())
    yield id
    hub.faults.clear()


def rank(cli: CommandLine, *checkpoints: str, dataset: str = "demo_captions", **environment: str) -> Done:
    named = [part for id in checkpoints for part in ("-c", id)]
    arguments = ["rank", "--dataset", dataset, "--max-samples", "40", "-e", ENCODER, "--estimator", "emms"]
    return cli.run(*arguments, *named, "--format", "json", **environment)


def rows(done: Done) -> dict[str, Any]:
    assert done.code in (0, 1), done.err
    return {row["checkpoint"]: row for row in json.loads(done.out)["rows"]} if done.out else {}


def the_error(done: Done, id: str) -> str:
    """The error of one row, beside a row that was scored: nothing else is lost."""
    told = rows(done)
    assert done.code == 0, done.err
    assert told[GOOD]["error"] is None
    assert id in told[id]["error"]
    assert "\n" not in told[id]["error"]
    assert "Traceback" not in done.err
    return str(told[id]["error"])


# ---- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_failure_that_passes_is_waited_out(hub: Hub, cli: CommandLine, model: str, status: int) -> None:
    hub.fail(f"GET /api/models/{model}*", status, times=1)
    hub.fail(f"GET */cdn/*{model}/model.safetensors", status, times=1)
    assert rows(rank(cli, model))[model]["error"] is None


def test_retry_after_is_respected(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.fail(f"GET /api/models/{model}*", 429, times=1, retry_after=3)
    began = time.monotonic()
    assert rows(rank(cli, model))[model]["error"] is None
    assert time.monotonic() - began >= 3


def test_a_file_that_is_cut_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    """The client writes 10 MiB at a time, and goes on behind the last piece."""
    content = np.random.default_rng(0).bytes(25 << 20)
    hub.store.put_files("org/cut", {"model.safetensors": content})
    hub.fail("GET */cdn/*org/cut/model.safetensors", "cut", times=1, after=15 << 20)
    code = """
        import hashlib, json
        from hf_emms.hub import fetch, resolve
        path = fetch(resolve("org/cut", "model"), ["model.safetensors"]) / "model.safetensors"
        print(json.dumps(hashlib.sha256(path.read_bytes()).hexdigest()))
        """
    assert run_client(hub, code, tmp_path) == hashlib.sha256(content).hexdigest()
    parts = [entry for entry in hub.requests if entry.line.endswith("org/cut/model.safetensors") and entry.sent]
    assert [(entry.range, entry.sent) for entry in parts] == [
        (None, 15 << 20),
        (f"bytes={10 << 20}-", 15 << 20),
    ]


def test_a_slow_body_and_a_stale_etag_give_the_same_scores(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.fail(f"GET */cdn/*{model}/model.safetensors", "slow", times=1, seconds=1.5)
    hub.fail(f"HEAD */{model}/resolve/*/model.safetensors", "stale-etag", times=1)
    told = rows(rank(cli, model, GOOD))
    assert told[model]["scores"] == told[GOOD]["scores"]


def test_a_renamed_repository_is_found_under_its_old_name(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.store.move(hub.store.repo(model), f"{model}-renamed")
    assert rows(rank(cli, model))[model]["error"] is None


# ---- what does not: one failed row ---------------------------------------------------------------------------------


def test_a_hub_that_stays_down_is_given_up_at_the_deadline(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.fail(f"* /api/models/{model}*", 503, times=None, message="Down for maintenance")
    began = time.monotonic()
    error = the_error(rank(cli, model, GOOD, HF_EMMS_DEADLINE="3"), model)
    cli.run("--help", HF_EMMS_DEADLINE="30")
    assert time.monotonic() - began < 25
    assert "could not serve" in error
    assert "503: Down for maintenance" in error
    assert "again later" in error


def test_a_wait_longer_than_the_deadline_is_not_waited_for(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.fail(f"GET */cdn/*{model}/model.safetensors", 429, times=None, retry_after=3600)
    error = the_error(rank(cli, model, GOOD, HF_EMMS_DEADLINE="3"), model)
    cli.run("--help", HF_EMMS_DEADLINE="30")
    assert "asks to wait 3,600 s" in error
    assert "HF_EMMS_DEADLINE" in error


def test_a_hub_that_says_nothing_is_given_up_at_the_deadline(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.fail(f"GET */cdn/*{model}/model.safetensors", "slow", times=None, seconds=200)
    error = the_error(rank(cli, model, GOOD, HF_EMMS_DEADLINE="3"), model)
    cli.run("--help", HF_EMMS_DEADLINE="30")
    assert "nothing arrived for 3 s" in error


def test_a_gated_checkpoint_names_the_page_and_the_command(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.store.repo(model).gated = "manual"
    error = the_error(rank(cli, model, GOOD), model)
    assert "gated" in error
    assert f"{hub.url}/{model}" in error
    assert "hf auth login" in error


def test_a_private_checkpoint_and_none_at_all_look_the_same(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.store.repo(model).private = True
    error = the_error(rank(cli, model, GOOD), model)
    assert "no model" in error
    assert "private" in error
    assert "hf auth login" in error
    assert "no model 'org/absent'" in the_error(rank(cli, "org/absent", GOOD), "org/absent")


def test_a_wrong_revision_says_where_revisions_are_listed(hub: Hub, cli: CommandLine, model: str) -> None:
    told = rows(rank(cli, f"{model}@v9", GOOD))
    assert "no revision 'v9'" in told[f"{model}@v9"]["error"]
    assert f"{hub.url}/{model}/tree/main" in told[f"{model}@v9"]["error"]


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ("config.json", ("config.json", "transformers")),
        ("model.safetensors", ("no weights as safetensors", "--allow-pickle")),
        ("preprocessor_config.json", ("preprocessor_config.json",)),
    ],
)
def test_a_missing_file_is_named(hub: Hub, cli: CommandLine, left_out: str, words: tuple[str, ...]) -> None:
    id = f"org/without-{left_out.replace('.', '-')}"
    hub.store.put_files(id, {name: content for name, content in files_of().items() if name != left_out})
    error = the_error(rank(cli, id, GOOD), id)
    assert all(word in error for word in words)


def test_disabled_repositories_are_refused_in_the_hubs_words(hub: Hub, cli: CommandLine, model: str) -> None:
    hub.store.repo(model).disabled = True
    assert "Access to this resource is disabled" in the_error(rank(cli, model, GOOD), model)


# ---- datasets ------------------------------------------------------------------------------------------------------


def parquet(texts: list[str], group: int = 100, **more: list[Any]) -> bytes:
    labels = [("cat", "dog")[number % 2] for number in range(len(texts))]
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts, "label": labels, **more}), sink, row_group_size=group, compression="none")
    return sink.getvalue()


def sentences(count: int) -> list[str]:
    return [f"sentence {number} on {'cats and dogs' if number % 3 else 'the weather'}" for number in range(count)]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("gated", ("gated", "/datasets/org/", "hf auth login")),
        ("private", ("no dataset", "private", "hf auth login")),
        ("empty", ("no data file",)),
        ("down", ("could not serve", "503")),
        ("cut", ("closed connection", "network")),
        ("columns", ("columns", "--text-column", "--label-column")),
    ],
)
def test_a_dataset_that_cannot_be_used_ends_the_run_before_any_checkpoint(
    hub: Hub, cli: CommandLine, fault: str, words: tuple[str, ...]
) -> None:
    id = f"org/data-{fault}"
    content = parquet(sentences(60))
    if fault == "columns":
        sink = io.BytesIO()
        pq.write_table(pa.table({"a": [1.5, 2.5], "b": [2.5, 1.5]}), sink)
        content = sink.getvalue()
    files = {"README.md": b"# Data\n"} if fault == "empty" else {"data/train-00000-of-00001.parquet": content}
    hub.store.put_files(id, files, "dataset")
    repo = hub.store.repo(id, "dataset")
    repo.gated = "manual" if fault == "gated" else False
    repo.private = fault == "private"
    if fault == "down":
        hub.fail(f"* /api/datasets/{id}*", 503, times=None)
    if fault == "cut":
        hub.fail(f"GET */cdn/*{id}/*.parquet", "cut", times=None)
    done = rank(cli, GOOD, dataset=id, HF_EMMS_DEADLINE="3")
    cli.run("--help", HF_EMMS_DEADLINE="30")
    hub.faults.clear()
    assert done.code == 1
    assert done.out == ""
    (line, hint) = done.err.strip().splitlines()[-2:]
    assert line.startswith("Error: ")
    assert hint.startswith("  → ")
    assert all(word in line + hint for word in words), done.err


def test_a_token_opens_what_is_gated_and_private_and_is_never_shown(hub: Hub, cli: CommandLine, home: Path) -> None:
    token = hub.token(user="ada", role="read", orgs=["org"])
    hub.store.put_files("org/secret", files_of(), private=True)
    hub.store.put_files("org/closed", files_of(), gated="manual")
    named = ["-c", "org/secret", "-c", "org/closed", "-e", ENCODER, "--estimator", "emms", "--format", "json"]
    done = cli.run("--debug", "rank", "--dataset", "demo_captions", "--max-samples", "40", *named, token=token)
    assert [row["error"] for row in rows(done).values()] == [None, None]
    assert token not in done.out + done.err
    assert not any(token.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_a_stream_reads_no_more_than_the_rows_and_columns_it_needs(hub: Hub, tmp_path: Path) -> None:
    """A file of 45 MB in row groups of 1.5 MB: of 3,000 rows the first few hundred are needed."""
    noise = np.random.default_rng(0)
    texts = [f"{number} {noise.bytes(500).hex()}" for number in range(3000)]
    content = parquet(texts, unused=[noise.bytes(14_000) for _ in texts])
    hub.store.put_files("org/large", {"train.parquet": content}, "dataset")
    code = """
        import json
        from hf_emms.cache import Cache
        from hf_emms.data import load_target
        from pathlib import Path
        arguments = {"streaming": True, "max_samples": 20, "task": "text-classification"}
        first = load_target("org/large", cache=Cache(Path("CACHE")), **arguments)
        again = load_target("org/large", cache=Cache(Path("CACHE")), **arguments)
        same = list(first.inputs) == list(again.inputs) and (first.codes == again.codes).all()
        print(json.dumps([len(first), bool(same), first.fingerprint == again.fingerprint, first.notes == again.notes]))
        """.replace("CACHE", str(tmp_path / "cache"))
    assert run_client(hub, code, tmp_path) == [20, True, True, True]
    assert hub.bytes_sent("*org/large*") < 0.5 * len(content)
    read = hub.count("*org/large*")
    assert run_client(hub, code, tmp_path, HF_HUB_OFFLINE="1") == [20, True, True, True]
    assert hub.count("*org/large*") == read


def test_the_parquet_copy_of_the_hub_stands_in_for_a_loading_script(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/scripted", {"scripted.py": b"import datasets\n", "README.md": b"# Old\n"}, "dataset")
    copies = {f"{config}/train/0000.parquet": parquet(sentences(rows)) for config, rows in (("one", 30), ("two", 50))}
    copy = hub.store.put_files("org/scripted", copies, "dataset", ref="refs/convert/parquet")
    code = """
        import json
        from hf_emms.data import load_target
        from hf_emms.errors import EmmsError
        two = load_target("org/scripted", config="two")
        try:
            asked = load_target("org/scripted")
        except EmmsError as error:
            asked = [error.message, error.hint]
        print(json.dumps([len(two), two.repo.revision, two.notes, asked]))
        """
    count, revision, notes, asked = run_client(hub, code, tmp_path)
    assert (count, revision) == (50, copy)
    assert any("refs/convert/parquet" in note for note in notes)
    assert asked == ["'org/scripted' has several configurations: one, two", "--config NAME"]


# ---- pinned, cached, offline ---------------------------------------------------------------------------------------


def test_a_repository_that_moves_in_the_middle_changes_nothing(hub: Hub, tmp_path: Path) -> None:
    """Everything is resolved first; then all three repositories get other contents, and only then is it run."""
    shas = {
        "moving": hub.store.put_files("org/moving", files_of()),
        "encoder": hub.store.put_files("org/encoder", files_of("encoder-minilm-static")),
        "data": hub.store.put_files("org/moving-data", {"train.parquet": parquet(sentences(40))}, "dataset"),
    }
    hub.store.put_files("org/text", files_of("bert-random"))
    token = hub.token(user="ada", orgs=["org"])
    code = f"""
        import json
        from huggingface_hub import HfApi
        from hf_emms.engines.progress import Silent
        from hf_emms.pipeline import run
        from hf_emms.plan import Request, plan
        fixed = dict(max_samples=40, encoders=("org/encoder",), estimators=("emms",), resume=False, cache=False)
        planned = plan(Request("org/moving-data", ("org/text",), **fixed), Silent())
        pictures = plan(Request("demo_captions", ("org/moving",), **fixed), Silent())
        still = run(plan(Request("demo_captions", ("{GOOD}",), **fixed), Silent()), Silent())
        api = HfApi(token="{token}")
        api.upload_file(path_or_fileobj=b"broken", path_in_repo="config.json", repo_id="org/text")
        api.upload_file(path_or_fileobj=b"{{}}", path_in_repo="model.safetensors", repo_id="org/moving")
        api.upload_file(path_or_fileobj=b"{{}}", path_in_repo="model.safetensors", repo_id="org/encoder")
        api.delete_file("train.parquet", "org/moving-data", repo_type="dataset")
        texts, moved = run(planned, Silent()), run(pictures, Silent())
        print(json.dumps({{
            "errors": [texts.rows[0].error, moved.rows[0].error],
            "same": moved.rows[0].scores["emms"].value == still.rows[0].scores["emms"].value,
            "shas": [moved.rows[0].revision, moved.encoders[0].revision, texts.dataset_revision],
        }}))
        """
    told = run_client(hub, code, tmp_path)
    assert told == {"errors": [None, None], "same": True, "shas": [shas["moving"], shas["encoder"], shas["data"]]}


def test_a_second_run_asks_for_no_file_and_an_offline_one_for_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/kept", files_of("bert-random"))
    hub.store.put_files("org/kept-encoder", files_of("encoder-minilm-static"))
    hub.store.put_files("org/kept-data", {"train.parquet": parquet(sentences(60))}, "dataset")
    environment = client_environment(hub, tmp_path)
    arguments = ["rank", "--dataset", "org/kept-data", "-c", "org/kept", "-e", "org/kept-encoder", "--format", "json"]

    def run(*more: str, **extra: str) -> tuple[Any, list[str]]:
        began = len(hub.requests)
        line = CommandLine({**environment, **extra}, tmp_path)
        done = line.run(*arguments, *more)
        line.close()
        assert done.code == 0, done.err
        (row,) = json.loads(done.out)["rows"]
        assert row["error"] is None
        return [row["scores"], row["revision"]], [entry.line for entry in hub.requests[began:]]

    first, asked = run()
    assert any("safetensors" in line for line in asked)
    again, asked = run("--no-resume")
    assert again == first
    assert not any(".safetensors" in line or line.endswith(".parquet") for line in asked if line.startswith("GET"))
    assert run(HF_HUB_OFFLINE="1") == (first, [])
    # Without our own cache, from the Hub's and that of `datasets`.
    assert run("--no-cache", HF_HUB_OFFLINE="1") == (first, [])


def test_only_the_files_that_are_needed_are_downloaded(hub: Hub, cli: CommandLine) -> None:
    """Shards by the index; no twins in other formats, no exports, no leftovers of a training."""
    files = files_of()
    tensors = load(files.pop("model.safetensors"))
    halves = [dict(list(tensors.items())[0::2]), dict(list(tensors.items())[1::2])]
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {
        "metadata": {},
        "weight_map": {key: name for name, half in zip(names, halves, strict=True) for key in half},
    }
    twins = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "onnx/config.json")
    hub.store.put_files(
        "org/sharded",
        {
            **files,
            **{name: save(half, {"format": "pt"}) for name, half in zip(names, halves, strict=True)},
            "model.safetensors.index.json": json.dumps(index),
            "model-00003-of-00003.safetensors": b"of another conversion",
            "checkpoint-500/trainer_state.json": b"{}",
            **dict.fromkeys(twins, b"twin"),
        },
    )
    told = rows(rank(cli, "org/sharded", GOOD))
    assert told["org/sharded"]["error"] is None
    assert told["org/sharded"]["scores"] == told[GOOD]["scores"]
    got = {entry.path.rpartition("/org/sharded/")[2] for entry in hub.requests if "/cdn/" in entry.path}
    got = {path for path in got if path.startswith(("model", "pytorch", "tf", "flax", "onnx"))}
    assert got == set(names)
    assert not hub.count("* /org/sharded/resolve/*onnx*")
    assert not hub.count("* /org/sharded/resolve/*checkpoint-500*")


def test_a_dry_run_tells_files_and_bytes_and_downloads_none(hub: Hub, cli: CommandLine, model: str) -> None:
    def planned() -> dict[str, Any]:
        arguments = ["rank", "--dataset", "demo_captions", "--max-samples", "40", "-e", ENCODER, "--dry-run"]
        done = cli.run(*arguments, "--estimator", "emms", "-c", model, "--format", "json")
        assert done.code == 0, done.err
        (row,) = json.loads(done.out)
        return row

    before = hub.bytes_sent(f"*/cdn/*{model}/*")
    needed = {name: len(content) for name, content in files_of().items() if name != "README.md"}
    row = planned()
    assert (row["state"], row["files"], row["download_bytes"]) == ("to download", len(needed), sum(needed.values()))
    assert row["seconds"] is not None
    assert hub.bytes_sent(f"*/cdn/*{model}/*") == before
    rank(cli, model)
    assert planned()["state"] == "finished earlier"
