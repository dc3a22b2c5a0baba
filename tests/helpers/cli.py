"""The command line in the process of the tests, and a small ranking for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from hf_emms.cli.app import main
from tests.helpers.quick_python import python
from tests.helpers.tiny_checkpoints import build

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"


class Result(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


def program(*words: object) -> list[str]:
    """Return the command line of a separate process."""
    return [*python(), "-m", "hf_emms", *map(str, words)]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], emms_cache: Path) -> Cli:
    """Run the command line in this process, with a new cache."""

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["hf-emms", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        return Result(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"), "bert")


@pytest.fixture
def rank(encoder: Path) -> list[str]:
    """The arguments of a small ranking, to which tests add others."""
    words = f"rank --dataset demo_captions --max-samples 100 -e {encoder} --estimator emms --estimator knn"
    return [*words.split(), "-c", POOR, "-c", GOOD]


def best_first(table: str) -> list[str]:
    """Return the checkpoints of a printed table, in its order."""
    return [line.split()[1] for line in table.splitlines()[2:] if not line.startswith("failed: ")]
