"""Reading from a Hub over HTTP: checkpoints, datasets, and error messages."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import run
from tests.helpers.reading import ENCODER, GOOD, cli, files_of, home, hub, model, parquet, rank, rows, sentences
from tests.hub import Hub
from tests.hub.store import BoardEntry

__all__ = ["cli", "home", "hub", "model"]


# ---- what passes ---------------------------------------------------------------------------------------------------


def test_interrupted_download_is_resumed(hub: Hub, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(15 << 20)
    hub.store.put_files("org/cut", {"model.safetensors": content})
    hub.fail("GET */cdn/*org/cut/model.safetensors", "cut", times=1, after=12 << 20)
    code = """
        import hashlib
        path = fetch(resolve("org/cut", "model"), ["model.safetensors"]) / "model.safetensors"
        print(json.dumps(hashlib.sha256(path.read_bytes()).hexdigest()))
        """
    assert run(code, hub, tmp_path) == hashlib.sha256(content).hexdigest()
    parts = [entry for entry in hub.requests if entry.line.endswith("org/cut/model.safetensors") and entry.sent]
    assert [(entry.range, entry.sent) for entry in parts] == [
        (None, 12 << 20),
        (f"bytes={10 << 20}-", 5 << 20),  # pieces of 10 MiB are written
    ]
    assert not any(entry.authorized for entry in parts)


# ---- what does not: one failed row ---------------------------------------------------------------------------------


def test_unreadable_checkpoint_is_a_failed_row(hub: Hub, cli: CommandLine) -> None:
    hub.store.put_files("org/private", files_of(), private=True)
    done = rank(cli, "org/private", "org/absent", GOOD)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    errors = {id: row["error"] for id, row in rows(done).items()}
    assert errors.pop(GOOD) is None
    for id in ("org/private", "org/absent"):
        assert errors[id].startswith(f"there is no model '{id}' on the Hub, or it is private")
        assert "hf auth login" in errors[id]
    assert not any("\n" in error for error in errors.values())


def test_a_renamed_repository_is_ranked_once_under_its_current_name(hub: Hub, cli: CommandLine, model: str) -> None:
    repo = hub.store.repo(model)
    repo.id = f"{model}-renamed"
    hub.store.repos["model", repo.id] = repo  # the Hub answers to the old name, too
    done = rank(cli, model, repo.id, f"{model}@main")
    assert [(name, row["error"]) for name, row in rows(done).items()] == [(repo.id, None)]


def test_describe_model_and_invalid_config(hub: Hub, tmp_path: Path) -> None:
    card = b"---\nlicense: mit\nlibrary_name: timm\n---\n"
    files = {"README.md": card, "config.json": b'{"model_type": "bert"}', "model.safetensors": save({"w": np.ones(3)})}
    sha = hub.store.put_files("org/good", files, downloads=5, likes=3, gated="auto")
    for name, content in {"broken": b"{", "list": b"[]"}.items():
        hub.store.put_files(f"org/{name}", {"config.json": content})
    code = """
        from dataclasses import asdict
        from hf_emms.hub import find_models, read_config
        good, *others = (next(find_models(pipeline_tags=[None], text=text)) for text in ("good", "broken", "org/list"))
        refused = [report(lambda: read_config(model))["message"] for model in others]
        print(json.dumps([asdict(good), [good.license, good.parameters], refused]))
        """
    described, properties, (broken, of_a_list) = run(code, hub, tmp_path)
    assert {"license:mit", "timm", "bert"} <= set(described.pop("tags"))
    assert described == {
        **{"id": "org/good", "revision": sha, "config": {"model_type": "bert"}, "files": [".gitattributes", *files]},
        **{"parameters": 3, "downloads": 5, "likes": 3, "library": "timm", "gated": True, "architecture": None},
        **{"dtypes": [["F64", 3]], "benchmarks": []},
    }
    assert properties == ["mit", 3]
    assert broken.startswith("config.json of org/broken is not JSON: ")
    assert of_a_list == "config.json of org/list is not a JSON object"


def test_results_in_open_pull_requests_are_no_part_of_a_leaderboard_unless_the_hub_verified_them(
    hub: Hub, tmp_path: Path
) -> None:
    spam, checked = BoardEntry("bad/spam", pull_request=7), BoardEntry("ada/checked", verified=True, pull_request=3)
    hub.store.leaderboards["bench/quiz"] = [spam, BoardEntry("ada/merged"), checked, BoardEntry("grace/merged")]
    code = "from hf_emms.hub import leaderboard_ids\nprint(json.dumps(leaderboard_ids('bench/quiz')))"
    assert run(code, hub, tmp_path) == ["ada/merged", "ada/checked", "grace/merged"]


# ---- datasets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("gated", ("gated", "/datasets/org/", "hf auth login")),
        ("private", ("no dataset", "private", "hf auth login")),
        ("empty", ("no data file",)),
        ("columns", ("a (", "b (")),
    ],
)
def test_unusable_dataset_ends_the_run_first(hub: Hub, cli: CommandLine, fault: str, words: tuple[str, ...]) -> None:
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
    done = rank(cli, GOOD, dataset=id)
    assert done.code == 1
    assert done.out == ""
    error = done.err[done.err.index("Error: ") :]
    assert "\n  → " in error
    assert all(word in error for word in words), done.err


def test_token_opens_gated_and_private_repositories_and_is_never_printed(
    hub: Hub, cli: CommandLine, home: Path
) -> None:
    token = hub.token(user="ada", role="read", orgs=["org"])
    hub.store.put_files("org/secret", files_of(), private=True)
    hub.store.put_files("org/closed", files_of(), gated="manual")
    named = ["-c", "org/secret", "-c", "org/closed", "-e", ENCODER, "--estimator", "emms", "--format", "json"]
    done = cli.run("--debug", "rank", "--dataset", "demo_captions", "--max-samples", "40", *named, token=token)
    assert [row["error"] for row in rows(done).values()] == [None, None]
    assert token not in done.out + done.err
    assert not any(token.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_the_first_rows_of_a_stream_are_cached(hub: Hub, tmp_path: Path) -> None:
    texts = [f"{number} {np.random.default_rng(number).bytes(5_000).hex()}" for number in range(1000)]
    content = parquet(texts)
    hub.store.put_files("org/large", {"train.parquet": content}, "dataset")
    code = """
        from hf_emms.data import load_sample
        from hf_emms.options import SampleOptions
        options = SampleOptions("org/large", streaming=True, max_samples=20, task="text-classification")
        first, again = load_sample(options), load_sample(options)
        same = list(first.inputs) == list(again.inputs) and (first.codes == again.codes).all()
        print(json.dumps([len(first), bool(same), first.fingerprint == again.fingerprint, first.notes == again.notes]))
        """
    assert run(code, hub, tmp_path) == [20, True, True, True]
    read = hub.bytes_sent("*org/large*")
    assert run(code, hub, tmp_path) == [20, True, True, True]
    assert hub.bytes_sent("*org/large*") < read + 0.2 * len(content)


def test_parquet_copy_replaces_a_loading_script(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/scripted", {"scripted.py": b"import datasets\n", "README.md": b"# Old\n"}, "dataset")
    copies = {f"{config}/train/0000.parquet": parquet(sentences(rows)) for config, rows in (("one", 30), ("two", 50))}
    copy = hub.store.put_files("org/scripted", copies, "dataset", ref="refs/convert/parquet")
    code = """
        from hf_emms.data import load_sample
        from hf_emms.options import SampleOptions
        two = load_sample(SampleOptions("org/scripted@refs/convert/parquet", config="two"))
        script = report(lambda: load_sample(SampleOptions("org/scripted")))
        print(json.dumps([len(two), two.repo.revision, script]))
        """
    count, revision, script = run(code, hub, tmp_path)
    assert (count, revision) == (50, copy)
    assert "ORG/NAME@refs/convert/parquet" in script["hint"]
