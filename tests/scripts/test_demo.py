"""The generators of the embedded demo still write what is committed; these need no download."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from scripts.demo import checkpoints_image, checkpoints_sounds, data_wordnet, sources
from scripts.demo.tables import table_file

RANDOM = ("regnet-random", "vit-random", "ast-random")
CHECKPOINTS = {made.name: made for made in (*checkpoints_image.CHECKPOINTS, *checkpoints_sounds.CHECKPOINTS)}


@pytest.mark.parametrize("name", RANDOM)
def test_checkpoints_with_random_weights_are_made_again(name: str, tmp_path: Path) -> None:
    committed = sources.DEMO / "checkpoints" / name
    CHECKPOINTS[name].make(tmp_path / name)
    weights, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / name, committed))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert {path.name for path in committed.iterdir()} == {"README.md", *(p.name for p in (tmp_path / name).iterdir())}


def test_datasets_that_are_made_of_other_datasets_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("wordnet-pairs", "wordnet-words")
    committed = [pq.read_table(table_file(name)) for name in names]
    for name in ("wordnet-glosses", "wordnet-spans"):
        shutil.copytree(sources.DEMO / "datasets" / name, tmp_path / "datasets" / name)
    monkeypatch.setattr(sources, "DEMO", tmp_path)
    data_wordnet.pairs()
    data_wordnet.words()
    assert [pq.read_table(table_file(name)) for name in names] == committed
