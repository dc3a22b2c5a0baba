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
from tests.hub.fixtures import client_environment, run_client

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


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-c", GOOD], 0, []),
        (
            ["-c", "org/hollow", "-c", "org/nowhere", "-c", "emms-demo/bert-random", "-c", GOOD],
            0,
            [
                "3 problems that this run will meet:",
                "checkpoint org/hollow: org/hollow has no weights for PyTorch, only weights for ONNX Runtime",
                "checkpoint org/nowhere: ",
                "emms-demo/bert-random is a bert checkpoint, which reads texts, not images",
            ],
        ),
        (["-c", "org/hollow"], 1, ["this run could not start: checkpoints: none can be ranked"]),
        (
            ["-c", GOOD, "-e", "org/hollow-encoder"],
            1,
            ["this run could not start: label encoder org/hollow-encoder: "],
        ),
        (["-c", "org/nowhere", "--confirm", "1"], 1, ["fine-tuning: there is no checkpoint to fine-tune"]),
        (["-c", GOOD, "-e", "org/nowhere"], 1, ["there is no model 'org/nowhere'"]),
        (["-c", GOOD, "--dataset", "org/no-data"], 1, ["Error: there is no dataset 'org/no-data'"]),
    ],
)
def test_a_dry_run_lists_the_problems_of_a_run_and_fails_where_it_could_not_start(
    cli: CommandLine, words: list[str], code: int, said: list[str]
) -> None:
    done = cli.run("rank", "--dataset", "fashion_mnist", "--max-samples", "60", *words, "--dry-run", "--format", "json")
    assert done.code == code, done.err
    assert [text for text in said if text not in done.err] == []
    if code == 0:
        assert ("problem" in done.err) == bool(said)
        assert [row["checkpoint"] for row in json.loads(done.out)] == words[1::2]


def test_too_little_memory_or_disk_is_a_problem(tmp_path: Path) -> None:
    options = Options("demo_fashion", checkpoints=(GOOD,), encoders=("demo",), max_samples=60, cache=False)
    found = preflight(options, Silent(), Machine(disk=10**12, memory=500_000, folder=tmp_path))
    assert [problem.what for problem in found.problems] == [f"checkpoint {GOOD}", "checkpoints"]
    assert "more than the 500.0 kB of memory" in found.problems[0].message
    tiny = preflight(options, Silent(), Machine(disk=10**12, memory=300_000, folder=tmp_path))
    assert any(problem.fatal for problem in tiny.problems)
    assert tiny.problems[0].what == "label encoder emms-demo/encoder-minilm-static"


def test_a_full_disk_is_a_problem(cli: CommandLine, demo_hub: Hub, tmp_path: Path) -> None:
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
