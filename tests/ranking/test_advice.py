"""A shared first rank comes with advice: how many rows may tell the checkpoints apart, or that rows will not."""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import msgspec
import numpy as np
import pytest
from PIL import Image

import hf_emms
from hf_emms.cli.rank_commands import summary
from hf_emms.options import References
from hf_emms.presets import demo
from hf_emms.ranking import Row, ranked
from hf_emms.ranking.advice import advice
from hf_emms.ranking.merge import merged
from hf_emms.scoring import Score
from hf_emms.scoring.generative import ratio
from tests.helpers.rankings import emms_score, example
from tests.helpers.samples import load_sample

# Over these folds the difference is 0.01 and its standard error 0.01: as good as two standard errors on 4 n rows.
NOISE, SLIGHTLY = np.random.default_rng(0).normal(1, 0.1, (2, 256)) - [[0], [1]]
FIRST, SECOND = (0.53, 0.50, 0.50), (0.50, 0.50, 0.50)


def rows(*folds: tuple[float, ...]) -> tuple[Row, ...]:
    names = ("org/a", "org/b", "org/c", "org/d", "org/e")
    return ranked([Row(name, scores={"emms": emms_score(*of)}) for name, of in zip(names, folds, strict=False)], "emms")


def advise(*folds: tuple[float, ...], **changes: object) -> str | None:
    return advice(example(**({"rows": rows(*folds), "n": 100, "estimators": ("emms",)} | changes)))


def test_four_times_the_rows_are_named_which_have_half_the_noise() -> None:
    assert advise(FIRST, SECOND) == (
        "org/a and org/b share the first rank; 400 rows have half the noise and may tell them apart: max_samples=400; "
        "else take the smallest"
    )


def test_no_more_rows_are_asked_for_than_the_split_has() -> None:
    assert advise(FIRST, SECOND, available=400) == advise(FIRST, SECOND)
    assert advise(FIRST, SECOND, available=350) == (
        "org/a and org/b share the first rank; the split has 350 rows, which may tell them apart: max_samples=350; "
        "else take the smallest"
    )
    assert advise(FIRST, SECOND, available=100) == (
        "org/a and org/b share the first rank: more rows will hardly tell them apart (all 100 were used); "
        "take the smallest"
    )


def test_equal_scores_stay_equal_on_more_rows() -> None:
    assert "(their scores are equal)" in str(advise(SECOND, SECOND))
    assert "(their scores are equal)" not in str(advise(FIRST, SECOND))


def test_three_checkpoints_are_named_and_the_rest_counted() -> None:
    told = str(
        advise(*((value, 1 - value, 0.5 - place / 1000) for place, value in enumerate((0.5, 0.52, 0.54, 0.47, 0.44))))
    )
    assert told.startswith("org/a, org/b, org/c and 2 more share the first rank; ")
    assert told.endswith("; else take the smallest")


def test_a_clear_winner_and_scores_without_folds_call_for_no_advice() -> None:
    assert advise((0.6, 0.6, 0.6), SECOND) is None
    equal = [Row(name, scores={"emms": Score(0.5)}) for name in ("org/a", "org/b")]
    assert ranked(equal, "emms")[0].tied
    assert advice(example(rows=ranked(equal, "emms"))) is None
    stopped = tuple(msgspec.structs.replace(row, n=50) for row in rows(FIRST, SECOND))
    assert advice(example(rows=stopped, race=1)) is None
    assert advice(example(rows=(Row("org/a", error="broken"),))) is None


def test_rows_of_a_question_count_as_one_as_they_do_for_max_samples() -> None:
    told = advise(FIRST, SECOND, n=400, n_inputs=100, label_form="spans", available=300)
    assert "the split has 300 rows, which may tell them apart: max_samples=300" in str(told)
    assert "(all 100 were used)" in str(advise(FIRST, SECOND, n=400, n_inputs=100, label_form="spans", available=100))


def test_words_of_a_sentence_count_one_by_one_as_they_do_for_max_samples() -> None:
    words = {"n": 400, "n_inputs": 100, "label_form": "spans", "sampled": "words"}
    assert "max_samples=1600" in str(advise(FIRST, SECOND, **words, available=1000))
    assert "the split has about 600 rows" in str(advise(FIRST, SECOND, **words, available=150))
    assert "(all 400 were used)" in str(advise(FIRST, SECOND, **words, available=100))


def test_merged_rankings_advise_on_the_rows_of_both() -> None:
    first, second = (example(rows=(row,), n=100, notes=("a note",)) for row in rows(FIRST, SECOND))
    tied = merged(first, msgspec.structs.replace(second, created="later"))
    assert tied.notes == ("a note",)
    assert "org/a and org/b share the first rank" in str(tied.advice)
    assert merged(tied, msgspec.structs.replace(tied, created="later still")) is tied
    best = Row("org/best", scores={"emms": emms_score(0.9, 0.9, 0.9)})
    assert merged(example(rows=(best,), n=100), tied).advice is None


@pytest.mark.parametrize(
    ("references", "most", "available"),
    [("mean", None, 4), ("mean", 3, 5), ("all", 3, None), ("all", None, 10)],
)
def test_a_sample_knows_how_many_rows_there_are(
    references: References, most: int | None, available: int | None
) -> None:
    """Five rows with two captions each; two of them share their input, and one row of the sample."""
    captions = [["x", "y"], ["x", "z"], ["y", "z"], ["w", "v"], ["x", "v"]]
    pictures = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 50, 100, 150, 150)]
    data = datasets.Dataset.from_dict({"image": pictures, "captions": captions})
    target = load_sample(data, task="image-to-text", references=references, max_samples=most)
    assert target.available == available


@pytest.mark.parametrize("race", [None, 1])
def test_a_run_says_it_on_the_terminal(emms_cache: Path, tmp_path: Path, race: int | None) -> None:
    folder = demo.folder_of("emms-demo/bert-distilled")
    assert folder is not None
    copy = shutil.copytree(folder, tmp_path / "copy")
    encoder = "emms-demo/encoder-minilm-static"
    found = hf_emms.rank(
        "demo_glosses", (str(folder), str(copy)), encoders=encoder, estimators="emms", max_samples=60, race=race
    )
    assert found.available == 2000
    assert found.advice is not None
    assert "share the first rank: more rows will hardly tell them apart (their scores are equal)" in found.advice
    assert found.advice not in found.notes
    assert summary(found, None).count(found.advice) == 1


def test_more_rows_are_no_advice_where_a_score_judges_no_more_of_any_sample() -> None:
    scores = [ratio(np.column_stack([bits, np.ones(256)]), np.arange(256)) for bits in (NOISE, NOISE + SLIGHTLY)]
    shared = ranked(
        [Row(name, scores={"zero_shot": score}) for name, score in zip("ab", scores, strict=True)], "zero_shot"
    )
    said = advice(example(rows=shared, n=5000, estimators=("zero_shot",)))
    assert "more rows will hardly tell them apart (256 are judged, however many there are)" in str(said)
