"""What --dry-run finds: the problems of a run, and exit code 1 where it could not start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_emms.options import Options
from hf_emms.presets import demo
from hf_emms.ranking.progress import Silent
from hf_emms.run.preflight import Machine, preflight
from tests.helpers.command_line import CommandLine
from tests.hub import Hub
from tests.hub.fixtures import client_environment

GOOD = "emms-demo/resnet-distilled"


@pytest.fixture(scope="module")
def cli(demo_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A client of a Hub with a checkpoint and an encoder without weights, and a checkpoint of texts."""
    for id, source in (("org/hollow", "resnet-distilled"), ("org/hollow-encoder", "bert-random")):
        folder = demo.folder_of(f"emms-demo/{source}")
        assert folder is not None
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".safetensors"}
        demo_hub.store.put_files(id, files | {"model.onnx": b"onnx"})
    home = tmp_path_factory.mktemp("preflight")
    running = CommandLine(client_environment(demo_hub, home), home)
    yield running
    running.close()


def test_a_run_without_problems_lists_none(cli: CommandLine) -> None:
    done = cli.run("rank", "--dataset", "fashion_mnist", "-c", GOOD, "--max-samples", "60", "--dry-run")
    assert done.code == 0, done.err
    assert "problem" not in done.err


def test_checkpoints_that_will_fail_are_listed_and_the_run_could_start(cli: CommandLine) -> None:
    named = ("org/hollow", "org/nowhere", "emms-demo/bert-random", GOOD)
    flags = [word for id in named for word in ("-c", id)]
    done = cli.run("rank", "--dataset", "fashion_mnist", *flags, "--max-samples", "60", "--dry-run", "--format", "json")
    assert done.code == 0, done.err
    assert [row["checkpoint"] for row in json.loads(done.out)] == list(named)
    problems = done.err.split("3 problems that this run will meet:")[1]
    assert "checkpoint org/hollow: org/hollow has no weights for PyTorch, only weights for ONNX Runtime" in problems
    assert "checkpoint org/nowhere: " in problems
    assert "emms-demo/bert-random is a bert checkpoint, which reads texts, not images" in problems


@pytest.mark.parametrize(
    ("dataset", "encoder", "problem"),
    [
        ("fashion_mnist", "org/hollow-encoder", "this run could not start: label encoder org/hollow-encoder: "),
        ("fashion_mnist", "org/nowhere", "there is no model 'org/nowhere'"),
        ("org/no-data", "demo", "Error: there is no dataset 'org/no-data'"),
    ],
)
def test_a_dataset_or_an_encoder_that_cannot_be_loaded_stops_the_run(
    cli: CommandLine, dataset: str, encoder: str, problem: str
) -> None:
    done = cli.run("rank", "--dataset", dataset, "--max-samples", "60", "-e", encoder, "-c", GOOD, "--dry-run")
    assert done.code == 1
    assert problem in done.err


def test_nothing_that_can_be_ranked_stops_the_run(cli: CommandLine) -> None:
    done = cli.run("rank", "--dataset", "fashion_mnist", "--max-samples", "60", "-c", "org/hollow", "--dry-run")
    assert done.code == 1
    assert "this run could not start: checkpoints: none can be ranked" in done.err


def test_too_little_memory_or_disk_is_a_problem(tmp_path: Path) -> None:
    options = Options("demo_fashion", checkpoints=(GOOD,), encoders=("demo",), max_samples=60, cache=False)
    found = preflight(options, Silent(), Machine(disk=10**12, memory=500_000, folder=tmp_path))
    assert [problem.what for problem in found.problems] == [f"checkpoint {GOOD}", "checkpoints"]
    assert "more than the 500.0 kB of memory" in found.problems[0].message
    tiny = preflight(options, Silent(), Machine(disk=10**12, memory=300_000, folder=tmp_path))
    assert any(problem.fatal for problem in tiny.problems)
    assert tiny.problems[0].what == "label encoder emms-demo/encoder-minilm-static"


def test_a_full_disk_is_a_problem(cli: CommandLine, demo_hub: Hub, tmp_path: Path) -> None:
    from tests.hub.fixtures import run_client

    source = f"""
    import json
    from pathlib import Path
    from hf_emms.ranking.progress import Silent
    from hf_emms.options import Options
    from hf_emms.run.preflight import Machine, preflight

    options = Options("demo_fashion", checkpoints=("{GOOD}",), encoders=("base",), max_samples=60, cache=False)
    found = preflight(options, Silent(), Machine(disk=1000, memory=10**12, folder=Path("/cache")))
    print(json.dumps([[str(one), one.fatal] for one in found.problems]))
    """
    ((text, fatal),) = run_client(demo_hub, source, tmp_path)
    assert text.startswith("disk: ")
    assert "1.0 kB free in /cache" in text
    assert fatal
