"""hf-emms reads everything at one commit, only required files, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load, save

from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import run
from tests.helpers.reading import ENCODER, GOOD, cli, files_of, home, hub, model, parquet, rank, rows, sentences
from tests.hub import Hub
from tests.hub.fixtures import client_environment

__all__ = ["cli", "home", "hub", "model"]


@pytest.mark.slow
def test_commits_during_a_run_change_nothing(hub: Hub, tmp_path: Path) -> None:
    """Everything is resolved first; then all three repositories get other contents, and only then is it run."""
    shas = {
        "moving": hub.store.put_files("org/moving", files_of()),
        "encoder": hub.store.put_files("org/encoder", files_of("encoder-minilm-static")),
        "data": hub.store.put_files("org/moving-data", {"train.parquet": parquet(sentences(40))}, "dataset"),
    }
    shas["news"] = hub.store.put_files("fancyzhx/ag_news", {"train.parquet": parquet(sentences(40))}, "dataset")
    hub.store.put_files("org/text", files_of("bert-random"))
    token = hub.token(user="ada", orgs=["org", "fancyzhx"])
    code = f"""
        from huggingface_hub import HfApi
        from hf_emms.ranking.progress import Progress
        from hf_emms.run.confirm import options_for, fine_tuning_of, start_session
        from hf_emms.run.execute import execute_plan
        from hf_emms.run.plan import make_plan
        from hf_emms.options import Options
        fixed = dict(max_samples=40, encoders=("org/encoder",), estimators=("emms",), resume=False, cache=False)
        planned = make_plan(Options.of("org/moving-data", checkpoints=("org/text",), **fixed), Progress())
        pictures = make_plan(Options.of("demo_captions", checkpoints=("org/moving",), **fixed), Progress())
        still = execute_plan(make_plan(Options.of("demo_captions", checkpoints=("{GOOD}",), **fixed), Progress()))
        news = Options.of("ag_news", checkpoints=("emms-demo/bert-random",), **fixed)
        news = execute_plan(make_plan(news, Progress()))
        api = HfApi(token="{token}")
        api.upload_file(path_or_fileobj=b"broken", path_in_repo="config.json", repo_id="org/text")
        api.upload_file(path_or_fileobj=b"{{}}", path_in_repo="model.safetensors", repo_id="org/moving")
        api.upload_file(path_or_fileobj=b"{{}}", path_in_repo="model.safetensors", repo_id="org/encoder")
        api.delete_file("train.parquet", "org/moving-data", repo_type="dataset")
        api.delete_file("train.parquet", "fancyzhx/ag_news", repo_type="dataset")
        texts, moved = execute_plan(planned), execute_plan(pictures)
        tuned = fine_tuning_of(news, start_session(news, options_for(news, confirm=1), Progress()))
        print(json.dumps({{
            "errors": [texts.rows[0].error, moved.rows[0].error],
            "same": moved.rows[0].scores["emms"].value == still.rows[0].scores["emms"].value,
            "shas": [moved.rows[0].revision, moved.encoders[0].revision, texts.dataset_revision, tuned.splits.revision],
        }}))
        """
    assert run(code, hub, tmp_path) == {
        "errors": [None, None],
        "same": True,
        "shas": [*shas.values()],
    }


def test_second_run_downloads_nothing_and_offline_run_makes_no_request(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/kept", files_of("bert-random"))
    hub.store.put_files("org/kept-encoder", files_of("encoder-minilm-static"))
    hub.store.put_files("org/kept-data", {"train.parquet": parquet(sentences(60))}, "dataset")
    environment = client_environment(hub, tmp_path)
    arguments = ["rank", "--dataset", "org/kept-data", "-c", "org/kept", "-e", "org/kept-encoder", "--format", "json"]

    def ranked(line: CommandLine, *more: str) -> tuple[Any, list[str]]:
        began = len(hub.requests)
        done = line.run(*arguments, *more)
        assert done.code == 0, done.err
        (row,) = json.loads(done.out)["rows"]
        assert row["error"] is None
        return [row["scores"], row["revision"]], [entry.line for entry in hub.requests[began:]]

    online = CommandLine(environment, tmp_path)
    first, asked = ranked(online)
    assert any("safetensors" in line for line in asked)
    again, asked = ranked(online, "--no-resume")
    online.close()
    assert again == first
    assert not any(".safetensors" in line or line.endswith(".parquet") for line in asked if line.startswith("GET"))
    offline = CommandLine({**environment, "HF_HUB_OFFLINE": "1"}, tmp_path)
    assert ranked(offline) == (first, [])
    # Without our own cache, from the caches of the Hub and of `datasets`.
    assert ranked(offline, "--no-cache") == (first, [])
    offline.close()


def test_only_required_files_are_downloaded(hub: Hub, cli: CommandLine) -> None:
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


def test_dry_run_lists_files_and_downloads_nothing(hub: Hub, cli: CommandLine, model: str) -> None:
    def planned() -> dict[str, Any]:
        arguments = ["rank", "--dataset", "demo_captions", "--max-samples", "40", "-e", ENCODER, "--dry-run"]
        done = cli.run(*arguments, "--estimator", "emms", "-c", model, "--format", "json")
        assert done.code == 0, done.err
        (row,) = json.loads(done.out)
        return row

    before = hub.bytes_sent(f"*/cdn/*{model}/*")
    needed = {name: len(content) for name, content in files_of().items() if name != "README.md"}
    row = planned()
    # The plan has read what is small.
    to_download = sum(size for name, size in needed.items() if not name.endswith(".json"))
    assert (row["state"], row["files"], row["download_bytes"]) == ("to download", len(needed), to_download)
    assert row["seconds"] is not None
    assert hub.bytes_sent(f"*/cdn/*{model}/*") == before
    rank(cli, model)
    assert planned()["state"] == "finished earlier"
