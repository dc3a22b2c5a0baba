"""Test races: a full run has the same winners, and each checkpoint is loaded once."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import datasets
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

import hf_emms
from hf_emms.cli.output import cached_file
from hf_emms.errors import EmmsError
from hf_emms.features.extractor import Extractor, ExtractorPool
from hf_emms.inputs import Modality
from hf_emms.publish.card_text import card
from hf_emms.publish.cards import model_cards
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.ranking.estimators import get_estimator
from hf_emms.ranking.merge import merged
from hf_emms.run.engines.race import (
    ProjectedScore,
    RaceCandidate,
    RaceEngine,
    clearly_below,
    is_eliminated,
    projected_score,
    round_sizes,
)
from hf_emms.run.engines.rows import score_estimators
from hf_emms.scoring import Score
from tests.helpers.counting import counted_calls
from tests.helpers.extracting import load_repo
from tests.helpers.notes import codes
from tests.helpers.progress import RecordedProgress
from tests.helpers.samples import load_sample
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of

DATASET, GLOSSES, ENCODER = "demo_captions", "demo_glosses", "emms-demo/encoder-minilm-static"
TOP = 2
NAMES = ("resnet-distilled", "twotower-distilled", "vit-gpt2-captions", "regnet-random", "vit-random", "clip-random")
CHECKPOINTS = tuple(f"emms-demo/{name}" for name in NAMES)


@pytest.fixture(scope="module")
def full() -> Ranking:
    return hf_emms.rank(DATASET, CHECKPOINTS, cache=False)


@pytest.fixture(scope="module")
def work() -> RecordedProgress:
    return RecordedProgress()


@pytest.fixture(scope="module")
def race(work: RecordedProgress) -> Ranking:
    return hf_emms.rank(DATASET, CHECKPOINTS, race=TOP, cache=False, progress=work)


def test_a_race_finds_the_best_of_a_full_run_and_stopped_rows_come_last(
    full: Ranking, race: Ranking, work: RecordedProgress
) -> None:
    best = [row.checkpoint for row in full.rows[:TOP]]
    assert [row.checkpoint for row in race.rows[:TOP]] == best
    for name in best:
        for estimator, score in full.row(name).scores.items():
            assert race.row(name).scores[estimator].value == pytest.approx(score.value, abs=1e-6)
    stopped = [row for row in race.rows if row.n is not None]
    assert stopped
    assert race.rows[-len(stopped) :] == tuple(stopped)
    assert all(row.n < race.n and row.scores.keys() == race.rows[0].scores.keys() for row in stopped)
    sizes = sorted({row.n for row in stopped})
    assert codes(race.notes)[-1] == "race"
    assert re.findall(r"\d+", str(race.notes[-1])) == ["2", f"{len(stopped)}", "6", *map(str, sizes)]
    assert work.inputs == {row.checkpoint: row.n or race.n for row in race.rows}  # none goes through one twice


def test_a_stopped_row_is_not_reused_as_a_finished_row(full: Ranking, emms_cache: Path) -> None:
    names = [row.checkpoint for row in (*full.rows[:TOP], *full.rows[-2:])]
    started, damaged = time.perf_counter(), RecordedProgress()
    race = hf_emms.rank(DATASET, names, race=TOP)
    assert all(0 < row.seconds.loading <= row.seconds.features and row.seconds.scoring > 0 for row in race)
    assert sum(row.seconds.features + row.seconds.scoring for row in race) < time.perf_counter() - started
    again = hf_emms.rank(DATASET, names, progress=damaged)
    assert [note for note in damaged.notes if "cache" in note] == []
    for name in names:
        assert again.row(name).n is None
        assert (again.row(name).cached == "row") == (race.row(name).n is None)
        assert again.row(name).scores["emms"].value == pytest.approx(full.row(name).scores["emms"].value, abs=1e-6)
    # From features in the cache.
    work = RecordedProgress()
    anew = hf_emms.rank(DATASET, names, race=TOP, resume=False, progress=work)
    assert [(row.checkpoint, row.n, row.scores) for row in anew] == [
        (row.checkpoint, row.n, row.scores) for row in race
    ]
    assert {row.cached for row in anew} == {"features"}
    assert work.inputs == {row.checkpoint: row.n or race.n for row in race}


def test_an_impossible_race_fails_before_anything_is_resolved() -> None:
    with pytest.raises(EmmsError, match="a score with folds, which logme does not have"):
        hf_emms.rank("no/dataset", "no/checkpoint", race=TOP, estimators="logme")
    with pytest.raises(EmmsError, match="at one layer, not at last and mean"):
        hf_emms.rank("no/dataset", "no/checkpoint", race=TOP, layers=("last", "mean"))


@given(st.integers(2, 100_000))
def test_rounds_double_the_inputs_up_to_all(inputs: int) -> None:
    sizes = round_sizes(inputs)
    assert sizes[-1] == inputs
    assert all(2 * small <= large <= 2 * small + 1 for small, large in pairwise(sizes))
    assert round_sizes(400) == [100, 200, 400]


@given(limit=st.floats(-1, 0), error=st.floats(0, 100), rows=st.integers(10, 400))
def test_projection_assumes_an_excess_error_of_one_over_n(limit: float, error: float, rows: int) -> None:
    def look(n: int) -> tuple[int, Score]:
        value = limit - error / n
        return n, Score(value, folds=(value, value + 1.0))

    expected = projected_score([look(rows), look(2 * rows)], 1000)
    assert expected.value == pytest.approx(limit - error / 1000)
    assert expected.folds == pytest.approx([limit - error / 1000, limit - error / 1000 + 1])


def test_clearly_below_is_a_paired_t_test() -> None:
    def its(*folds: float) -> ProjectedScore:
        return ProjectedScore(float(np.mean(folds)), np.array(folds))

    for folds, others in np.random.default_rng(0).normal([[0.0], [0.7]], 1.0, (200, 2, 5)):
        is_below = ttest_rel(others, folds, alternative="greater").pvalue < 0.05
        assert clearly_below(its(*folds), its(*others), 0.95) == is_below
    assert clearly_below(its(0.1, 0.2), its(0.5, 0.6), 0.95)
    for folds, others in (((0.1,), (0.5,)), ((0.1, 0.2), (0.5, 0.6, 0.5)), ((0.1, 0.2), (0.1, 0.2))):
        assert not clearly_below(its(*folds), its(*others), 0.95)


def looks(before: float, now: float) -> list[tuple[int, Score]]:
    folds = np.array([0.0, 0.01, 0.0, 0.01, 0.0])
    return [(n, Score(value, folds=tuple(value + folds))) for n, value in ((100, before), (200, now))]


def test_a_checkpoint_that_gains_enough_is_not_eliminated() -> None:
    best = looks(-0.2, -0.2)
    assert is_eliminated(looks(-0.3, -0.3), best, 1000)
    assert not is_eliminated(looks(-0.5, -0.3), best, 1000)  # expected at -0.14
    assert not is_eliminated(looks(0.1, -0.1), best, 1000)  # ahead now
    # It is the last place among the best that counts, and who has no score yet stays.
    level = looks(-0.1, -0.1)
    places = {"unscored": [], "far": best, "level": level, "first": looks(0.0, 0.0), "second": level}
    running = [RaceCandidate(name, None, history=history) for name, history in places.items()]  # type: ignore[arg-type]
    assert [each.name for each in RaceEngine(2, get_estimator("emms"))._eliminated(running, 1000)] == ["far"]
    # Without two scores with the same number of folds nothing is projected.
    (_, now), fewer = looks(-0.5, -0.3)[-1], (100, Score(-0.5, folds=(-0.5, -0.5)))
    for history in ([(200, now)], [fewer, (200, now)]):
        assert projected_score(history, 1000).value == now.value


def test_a_complete_row_outranks_and_replaces_a_stopped_row(full: Ranking) -> None:
    score = Score(9.0, folds=(9.0, 9.0))
    stopped = msgspec.structs.replace(full.rows[0], n=100, scores={**full.rows[0].scores, "emms": score})
    rows = ranked((stopped, *full.rows[1:], Row("later", n=200, scores={"emms": score})), "emms")
    assert [row.checkpoint for row in rows[-2:]] == ["later", stopped.checkpoint]
    assert [row.rank for row in rows[-2:]] == [len(rows) - 1, len(rows)]
    later = msgspec.structs.replace(full, rows=(stopped, *full.rows[1:]), created="2999-01-01T00:00:00+00:00")
    assert merged(full, later).row(stopped.checkpoint).n is None


def test_a_card_contains_complete_rows_only(race: Ranking) -> None:
    finalist, stopped = race.rows[0].checkpoint, race.rows[-1].checkpoint
    assert f"of {len(race.rows)}" in card(race, finalist)
    assert stopped not in card(race, finalist)
    with pytest.raises(EmmsError, match="a race stopped"):
        card(race, stopped)
    _, left_out = model_cards([race])
    assert any(reason.startswith(f"{stopped}: a race stopped it") for reason in left_out)


def test_a_race_and_a_full_run_have_different_files(full: Ranking) -> None:
    for change in ({"race": TOP}, {"sampling": "proportional"}, {"dtype": "bfloat16"}, {"layers": ("mean",)}):
        assert cached_file(msgspec.structs.replace(full, settings={**full.settings, **change})) != cached_file(full)
    assert cached_file(msgspec.structs.replace(full, created="later")) == cached_file(full)


# ---- samples of which a part says nothing -----------------------------------------------------------------------


def raced(texts: list[str], labels: list[str]) -> list[tuple[str | None, int | None]]:
    """Error and number of rows of each checkpoint."""
    rows = datasets.Dataset.from_dict({"text": texts, "label": labels})
    checkpoints = ("emms-demo/bert-random", "emms-demo/bert-distilled")
    options = {"sampling": "proportional", "encoders": ENCODER, "estimators": "emms"}
    return [(row.error, row.n) for row in hf_emms.rank(rows, checkpoints, race=1, cache=False, **options).rows]


@pytest.mark.parametrize("size", range(5, 9))
def test_a_race_on_few_rows_runs_all_of_them(size: int) -> None:
    assert raced([f"{i} apples" for i in range(size)], list("abababab")[:size]) == [(None, None)] * 2


def test_a_round_with_one_label_stops_no_checkpoint() -> None:
    texts = [f"{i} apples" for i in range(400)]
    drawn = load_sample(datasets.Dataset.from_dict({"text": texts, "label": ["a", "b"] * 200}))
    last = set(list(drawn.inputs)[-40:])
    assert raced(texts, ["rare" if text in last else "common" for text in texts]) == [(None, None)] * 2


# ---- how much is loaded and kept -------------------------------------------------------------------------------------


def test_a_race_loads_each_checkpoint_once_and_finalists_run_the_rest_at_once() -> None:
    heard = RecordedProgress()
    with counted_calls(Modality.load_extractor, lambda frame: frame.f_locals["spec"].repo.id) as loads:
        ranking = hf_emms.rank(GLOSSES, race=2, progress=heard, encoders=ENCODER, estimators="emms", cache=False)
    assert Counter(loads) == Counter([ENCODER, *(row.checkpoint for row in ranking.rows)])
    best = [row for row in ranking.rows if row.n is None]
    assert len(best) == 2  # otherwise this dataset cannot test the counts below
    assert all(len(heard.started_with[row.checkpoint]) < 5 for row in best)  # 125, 250, 500, 1,000 and 2,000 glosses
    assert all(sum(heard.started_with[row.checkpoint]) == ranking.n for row in best)


def test_a_race_without_losers_runs_all_rows_at_once() -> None:
    heard = RecordedProgress()
    names = ("emms-demo/bert-distilled", "emms-demo/bert-random")
    with counted_calls(score_estimators, lambda frame: 1) as scored:
        hf_emms.rank(GLOSSES, names, race=2, max_samples=400, encoders=ENCODER, cache=False, progress=heard)
    assert heard.started_with == {name: [400] for name in names}
    assert len(scored) == 2


def test_a_race_counts_truncated_texts_over_all_rounds(tmp_path: Path) -> None:
    names = [str(build(tmp_path, "bert")), "emms-demo/bert-distilled", "emms-demo/bert-random"]
    options = {"encoders": ENCODER, "estimators": "emms", "cache": False, "max_samples": 800}
    full = hf_emms.rank(GLOSSES, names, **options)  # type: ignore[arg-type]
    with counted_calls(score_estimators, lambda frame: frame.f_locals["inputs"].moments.n) as scored:
        race = hf_emms.rank(GLOSSES, names, race=2, **options)  # type: ignore[arg-type]
    assert scored[:6] == [50, 100] * 3  # in the first round at half of it, too
    (truncated,) = (note for note in full.row(names[0]).notes if note.code == "texts-truncated")
    assert race.row(names[0]).n is None
    assert truncated in race.row(names[0]).notes


# ---- what waits for the next round ------------------------------------------------------------------------------


@pytest.fixture
def extractors(tmp_path: Path) -> Iterator[dict[str, Extractor]]:
    repo = repo_of(build(tmp_path, "bert"))
    made = {name: load_repo(repo, "text") for name in "abcd"}
    yield made
    for extractor in made.values():
        extractor.close()


def lend(loaded: ExtractorPool, name: str, extractors: dict[str, Extractor]) -> None:
    with loaded.use(name, lambda: extractors[name]) as lent:
        assert lent is extractors[name]


def waits(extractor: Extractor) -> bool:
    """Whether it can still be run."""
    try:
        return len(list(extractor.batches(TEXTS[:1]))) == 1
    except EmmsError:
        return False


def test_the_pool_retains_the_first_extractors_that_fit_and_closes_the_others(extractors: dict[str, Extractor]) -> None:
    loaded = ExtractorPool(2 * extractors["a"].weight_bytes)
    for name in "abc":
        lend(loaded, name, extractors)
    loaded.retain(["c", "a", "b"])
    assert [name for name in "abc" if waits(extractors[name])] == ["a", "c"]
    loaded.retain(["c"])
    assert not waits(extractors["a"])
    with pytest.raises(EmmsError, match="an odd input"), loaded.use("c", lambda: pytest.fail("loaded again")):
        raise EmmsError("an odd input")
    assert not waits(extractors["c"])
    lend(loaded, "d", extractors)
    loaded.close()
    assert not waits(extractors["d"])
