"""hf-emms score: EMMS of arrays in a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import hf_emms
from tests.helpers.cli import Cli, cli

__all__ = ["cli"]


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6))
    z = x @ rng.normal(size=(6, 5)) + rng.normal(size=(80, 5))
    np.savez(tmp_path / "a.npz", features=x, groups=np.arange(80) // 2, label_embeddings=z)
    np.savez(tmp_path / "of_table.npz", features=x, codes=x[:, :4].argmax(axis=1), table=rng.normal(size=(4, 5)))
    return tmp_path / "a.npz"


def test_score_equals_emms(cli: Cli, arrays: Path) -> None:
    held = np.load(arrays)
    x, z, groups = held["features"], held["label_embeddings"], held["groups"]
    of_table = np.load(arrays.parent / "of_table.npz")
    table = hf_emms.LabelTable(of_table["codes"], (of_table["table"],))
    for words, expected in {
        "": hf_emms.emms(x, z, groups=groups),
        "--estimator emms_exact": hf_emms.score(x, z, estimator="emms_exact"),
        "--folds 3 --seed 1": hf_emms.emms(x, z, groups=groups, folds=3, seed=1),
        "of_table.npz": hf_emms.emms(x, table),
    }.items():
        file, *flags = words.split() if words.endswith("npz") else (arrays, *words.split())
        result = json.loads(cli("score", arrays.parent / file, *flags, "--format", "json").out)
        assert result["score"] == pytest.approx(expected.score, rel=1e-12)
        assert result["weights"] == pytest.approx(list(expected.weights))
    r2, weights, count = "R²       0.0000", "weights  0.000", "n, d1    00, 0"
    for method, lines in {
        "emms": ["score    -0.000000 ± 0.000000", r2, weights, "ridge    0.0000", count],
        "emms_exact": ["score    -0.000000", r2, weights, count],
    }.items():
        assert re.sub(r"(?<!d)\d", "0", cli("score", arrays, "--estimator", method).out).splitlines() == lines


def test_score_reports_invalid_files(cli: Cli, arrays: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "pickled.npz", features=np.array([{}], dtype=object))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "without_labels.npz", features=np.zeros((3, 2)))
    for name in ("pickled.npz", "single.npy", "text.npz", "without_labels.npz"):
        result = cli("score", tmp_path / name)
        assert result.code == 1
        assert name in result.err
    assert cli("score", tmp_path / "missing.npz").code == 2
