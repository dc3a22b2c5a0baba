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


HALF_THE_NOISE = "; {} rows have half the noise and may tell them apart: max_samples={}; else take the smallest"
ALL_OF_THE_SPLIT = "; the split has {} rows, which may tell them apart: max_samples={}; else take the smallest"
NO_HELP = ": more rows will hardly tell them apart ({}); take the smallest"
FIVE = [(value, 1 - value, 0.5 - place / 1000) for place, value in enumerate((0.5, 0.52, 0.54, 0.47, 0.44))]
# Rows of a question count as one, words of a sentence each for themselves: as they do for max_samples.
QUESTIONS = {"n": 400, "n_inputs": 100, "label_form": "spans"}
WORDS = QUESTIONS | {"sampled": "words"}
ADVICE: dict[str, tuple[tuple[Row, ...], dict[str, object], str]] = {
    "four times the rows": (rows(FIRST, SECOND), {}, HALF_THE_NOISE.format(400, 400)),
    "the split has them": (rows(FIRST, SECOND), {"available": 400}, HALF_THE_NOISE.format(400, 400)),
    "the split has fewer": (rows(FIRST, SECOND), {"available": 350}, ALL_OF_THE_SPLIT.format(350, 350)),
    "the split has no more": (rows(FIRST, SECOND), {"available": 100}, NO_HELP.format("all 100 were used")),
    "equal scores": (rows(SECOND, SECOND), {}, NO_HELP.format("their scores are equal")),
    "five checkpoints": (rows(*FIVE), {}, HALF_THE_NOISE.format(400, 400)),
    "questions": (rows(FIRST, SECOND), QUESTIONS, HALF_THE_NOISE.format(400, 400)),
    "few questions": (rows(FIRST, SECOND), QUESTIONS | {"available": 300}, ALL_OF_THE_SPLIT.format(300, 300)),
    "no more questions": (rows(FIRST, SECOND), QUESTIONS | {"available": 100}, NO_HELP.format("all 100 were used")),
    "words": (rows(FIRST, SECOND), WORDS | {"available": 1000}, HALF_THE_NOISE.format("1,600", 1600)),
    "few words": (rows(FIRST, SECOND), WORDS | {"available": 150}, ALL_OF_THE_SPLIT.format("about 600", 600)),
    "no more words": (rows(FIRST, SECOND), WORDS | {"available": 100}, NO_HELP.format("all 400 were used")),
}


@pytest.mark.parametrize("case", ADVICE)
def test_a_shared_first_rank_is_named_with_what_may_resolve_it(case: str) -> None:
    shared, changes, said = ADVICE[case]
    names = "org/a, org/b, org/c and 2 more" if len(shared) > 3 else "org/a and org/b"
    ranking = example(**({"rows": shared, "n": 100, "estimators": ("emms",)} | changes))
    assert advice(ranking) == f"{names} share the first rank{said}"


def test_a_clear_winner_and_scores_without_folds_call_for_no_advice() -> None:
    assert advice(example(rows=rows((0.6, 0.6, 0.6), SECOND))) is None
    equal = [Row(name, scores={"emms": Score(0.5)}) for name in ("org/a", "org/b")]
    assert ranked(equal, "emms")[0].tied
    assert advice(example(rows=ranked(equal, "emms"))) is None
    stopped = tuple(msgspec.structs.replace(row, n=50) for row in rows(FIRST, SECOND))
    assert advice(example(rows=stopped, race=1)) is None
    assert advice(example(rows=(Row("org/a", error="broken"),))) is None


def test_merged_rankings_advise_on_the_rows_of_both() -> None:
    first, second = (example(rows=(row,), n=100, notes=("a note",)) for row in rows(FIRST, SECOND))
    tied = merged(first, msgspec.structs.replace(second, created="later"))
    assert tied.notes == ("a note",)
    assert "org/a and org/b share the first rank" in str(tied.advice)
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
def test_a_sample_knows_how_many_rows_there_are(
    references: References, most: int | None, available: int | None
) -> None:
    """Five rows with two captions each; two of them share their input, and one row of the sample."""
    captions = [["x", "y"], ["x", "z"], ["y", "z"], ["w", "v"], ["x", "v"]]
    pictures = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 50, 100, 150, 150)]
    data = datasets.Dataset.from_dict({"image": pictures, "captions": captions})
    target = load_sample(data, task="image-to-text", references=references, max_samples=most)
    assert target.available == available


def test_a_run_and_a_race_say_it_on_the_terminal(emms_cache: Path, tmp_path: Path) -> None:
    folder = demo.folder_of("emms-demo/bert-distilled")
    assert folder is not None
    checkpoints = str(folder), str(shutil.copytree(folder, tmp_path / "copy"))
    settings = {"encoders": "emms-demo/encoder-minilm-static", "estimators": "emms", "max_samples": 60}
    for race in (None, 1):
        ranking = hf_emms.rank("demo_glosses", checkpoints, **settings, race=race)
        assert ranking.available == 2000
        said = str(ranking.advice)
        assert "share the first rank: more rows will hardly tell them apart (their scores are equal)" in said
        assert said not in ranking.notes
        assert summary(ranking, None).count(said) == 1


def test_more_rows_are_no_advice_where_a_score_judges_no_more_of_any_sample() -> None:
    scores = [ratio(np.column_stack([bits, np.ones(256)]), np.arange(256)) for bits in (NOISE, NOISE + SLIGHTLY)]
    shared = ranked(
        [Row(name, scores={"zero_shot": score}) for name, score in zip("ab", scores, strict=True)], "zero_shot"
    )
    said = advice(example(rows=shared, n=5000, estimators=("zero_shot",)))
    assert "more rows will hardly tell them apart (256 are judged, however many there are)" in str(said)
