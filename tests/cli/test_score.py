"""hf-emms score: EMMS of arrays in a file."""

from __future__ import annotations

import json
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
    table = rng.normal(size=(4, 5))
    codes = np.argmax(x[:, :4], axis=1)
    z = x @ rng.normal(size=(6, 5)) + rng.normal(size=(80, 5))
    np.savez(
        tmp_path / "a.npz",
        features=x,
        label_embeddings=z,
        codes=codes,
        table=table,
        groups=np.arange(80) // 2,
        z2=z[:, :3],
    )
    return tmp_path / "a.npz"


def test_score_gives_what_emms_gives(cli: Cli, arrays: Path) -> None:
    held = np.load(arrays)
    x, z, groups = held["features"], held["label_embeddings"], held["groups"]
    result = json.loads(cli("score", arrays, "--format", "json").out)
    assert result["score"] == pytest.approx(hf_emms.emms(x, z, groups=groups).score, rel=1e-12)
    exact = json.loads(cli("score", arrays, "--method", "emms_exact", "--format", "json").out)
    assert exact["score"] == pytest.approx(hf_emms.emms(x, z, method="emms_exact").score, rel=1e-12)
    two = cli("score", arrays, "--labels-key", "label_embeddings", "--labels-key", "z2", "--format", "json").out
    expected = hf_emms.emms(x, [z, held["z2"]], groups=groups)
    assert json.loads(two)["weights"] == pytest.approx(list(expected.weights))
    table = hf_emms.LabelTable(held["codes"], (held["table"],))
    coded = json.loads(cli("score", arrays, "--table-key", "table", "--format", "json").out)
    assert coded["score"] == pytest.approx(hf_emms.emms(x, table, groups=groups).score, rel=1e-12)
    assert "R²" in cli("score", arrays).out


def test_score_says_what_is_wrong_with_a_file(cli: Cli, arrays: Path, tmp_path: Path) -> None:
    result = cli("score", arrays, "--features-key", "X")
    assert result.code == 1
    assert "no array 'X'" in result.err
    assert "label_embeddings" in result.err
    np.savez(tmp_path / "pickled.npz", features=np.array([{}], dtype=object))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("not an archive")
    for name in ("pickled.npz", "single.npy", "text.npz"):
        result = cli("score", tmp_path / name)
        assert result.code == 1
        assert name in result.err
    assert cli("score", tmp_path / "missing.npz").code == 2
