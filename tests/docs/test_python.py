"""The examples of docs/python.md run, in their order, on small data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import ROOT
from tests.docs.pages import commands, fences
from tests.helpers.cli import Cli, cli

__all__ = ["cli"]


@pytest.fixture
def names() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    class_ids = rng.integers(0, 3, 120)
    features = 2 * np.eye(3, 12)[class_ids] + rng.normal(size=(120, 12))
    rows = [(rng.normal(size=(40, 768)), rng.normal(size=(40, 1024))) for _ in range(3)]
    return {
        "features": features,
        "label_embeddings": features @ rng.normal(size=(12, 16)) + rng.normal(size=(120, 16)),
        "class_ids": class_ids,
        "texts": np.array(["cat", "dog", "bird"])[class_ids],
        "batches": rows,
    }


def test_the_examples_run(names: dict[str, Any], emms_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in fences(ROOT / "docs" / "python.md", "python"):
        exec(block, names)
    assert names["ranking"].best.checkpoint in capsys.readouterr().out
    assert names["result"].r2 > 0.5
    assert len(names["labels"]) == 120
    assert names["moments"].n == 120


def test_the_first_example_of_texts_runs_as_printed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "rank-texts.md"
    monkeypatch.chdir(tmp_path)
    Path("my_texts.csv").write_text(fences(page, "text")[0])
    command = next(line for line in commands(page) if line.startswith("hf-emms rank "))
    assert cli(*command.split()[1:]).code == 0
    exec(fences(page, "python")[0], {})
    assert "emms-demo/bert-distilled" in capfd.readouterr().out
