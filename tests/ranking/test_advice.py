"""Test advice for merged rankings, and the number of available rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import msgspec
import pytest
from PIL import Image

import hf_emms
from hf_emms.cli.rank_commands import summary
from hf_emms.errors import Note
from hf_emms.options import References
from hf_emms.presets import demo
from hf_emms.ranking import Row, ranked
from hf_emms.ranking.merge import merged
from hf_emms.scoring import Score
from tests.helpers.notes import codes
from tests.helpers.rankings import emms_score, example
from tests.helpers.samples import load_sample

FIRST, SECOND = (0.53, 0.50, 0.50), (0.50, 0.50, 0.50)


def rows(*folds: tuple[float, ...]) -> tuple[Row, ...]:
    names = ("org/a", "org/b", "org/c", "org/d", "org/e")
    return ranked([Row(name, scores={"emms": emms_score(*of)}) for name, of in zip(names, folds, strict=False)], "emms")


def test_merged_rankings_contain_the_rows_of_both() -> None:
    first, second = (example(rows=(row,), n=100, notes=(Note("a-note", "a note"),)) for row in rows(FIRST, SECOND))
    tied = merged(first, msgspec.structs.replace(second, created="later"))
    assert codes(tied.notes) == ["a-note"]
    assert tied.advice is not None
    elsewhere = tied.settings | {"device": "cuda", "new": None}
    assert merged(tied, msgspec.structs.replace(tied, created="later still", settings=elsewhere)) is tied
    (lower,), baseline = rows((0.4, 0.4, 0.4)), Row("BM25", scores={"emms": Score(0.1)})
    with_baseline, anew = example(rows=first.rows, baselines=(baseline,)), example(rows=(lower,))
    both = merged(with_baseline, anew)  # of one time: the one that is added counts
    assert (both.rows[0].score, both.baselines) == (lower.score, (baseline,))
    best = Row("org/best", scores={"emms": emms_score(0.9, 0.9, 0.9)})
    assert merged(example(rows=(best,), n=100), tied).advice is None


@pytest.mark.parametrize(
    ("references", "most", "available"),
    [("mean", None, 4), ("mean", 3, 5), ("all", 3, None), ("all", None, 10)],
)
def test_a_sample_records_the_available_rows(references: References, most: int | None, available: int | None) -> None:
    """Five rows with two captions each; two of them share their input, and one row of the sample."""
    captions = [["x", "y"], ["x", "z"], ["y", "z"], ["w", "v"], ["x", "v"]]
    pictures = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 50, 100, 150, 150)]
    data = datasets.Dataset.from_dict({"image": pictures, "captions": captions})
    target = load_sample(data, task="image-to-text", references=references, max_samples=most)
    assert target.available == available


def test_a_run_prints_the_advice_once(emms_cache: Path, tmp_path: Path) -> None:
    folder = demo.folder_of("emms-demo/bert-distilled")
    assert folder is not None
    checkpoints = str(folder), str(shutil.copytree(folder, tmp_path / "copy"))
    settings = {"encoders": "emms-demo/encoder-minilm-static", "estimators": "emms", "max_samples": 60}
    ranking = hf_emms.rank("demo_glosses", checkpoints, **settings)
    assert ranking.available == 2000
    said = str(ranking.advice)
    assert summary(ranking).count(said) == 1
