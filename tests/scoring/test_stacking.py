"""EMMS with neighbors: the ridge and the nearest rows together, held out by fold."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize

import hf_emms
from hf_emms import LabelTable, Moments
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.scoring import Score, moments
from hf_emms.scoring.arrays import assign_folds, content_keys, group_ids, groups_by_content
from hf_emms.scoring.estimators import ScoringInputs
from hf_emms.scoring.neighbors import nearest
from tests.helpers.errors import raises_code


def problem(
    rows: int, width: int, *, texts: int | None = None, seed: int = 0, rank: int | None = None
) -> tuple[np.ndarray, LabelTable]:
    """Features, and labels that neither base learner explains alone: a linear part, a bent one and noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, width)) * rng.uniform(0.1, 9, width) + rng.normal(size=width)
    if rank is not None:
        x = x[:, :rank] @ rng.normal(size=(rank, width))
    hidden = StandardScaler().fit_transform(x)[:, :2]
    if texts is None:
        bent = np.hstack([hidden, np.sign(hidden[:, :1] * hidden[:, 1:])])
        return x, LabelTable.of_rows(
            [bent @ rng.normal(size=(3, wide)) + 0.3 * rng.normal(size=(rows, wide)) for wide in (4, 6)]
        )
    codes = (texts * (np.arctan2(*hidden.T) / (2 * np.pi) + 0.5)).astype(int).clip(0, texts - 1)
    return x, LabelTable(codes, (rng.normal(size=(texts, 5)), rng.normal(size=(texts, 3))))


def scored(name: str, x: np.ndarray, labels: LabelTable, groups: object = None, folds: int = 5) -> Score:
    keys = groups_by_content([x]) if groups is None else group_ids(groups, len(x))
    sums = Moments.like(labels, x.shape[1], folds=folds)
    sums.update(x, labels, keys)
    return ESTIMATORS[name].score(ScoringInputs(sums, (x, labels, keys)))


def slow_score(
    x: np.ndarray, labels: LabelTable, ridge: float, share: float, weights: list[float], sample: np.ndarray
) -> float:
    """The definition, fold by fold with scikit-learn, at given weights of base learners and F-labels.

    The gain of neighbors over the ridge is measured on a sample of rows, and applied to all rows.
    """
    blocks = [table[labels.codes] for table in labels.tables]
    widest = max(block.shape[1] for block in blocks)
    padded = [
        np.pad(
            StandardScaler().fit_transform(block) * np.sqrt(widest / block.shape[1]),
            ((0, 0), (0, widest - block.shape[1])),
        )
        for block in blocks
    ]
    z = sum(weight * block for weight, block in zip(weights, padded, strict=True))
    x = StandardScaler().fit_transform(x)
    folds = assign_folds(np.arange(len(x), dtype=np.uint64), 5, 0)
    loss = 0.0
    for fold in range(5):
        held, rest = folds == fold, folds != fold
        linear = z - Ridge(alpha=ridge * rest.sum()).fit(x[rest], z[rest]).predict(x)
        some, others = sample[held[sample]], sample[rest[sample]]
        nearest_others = NearestNeighbors(n_neighbors=3).fit(normalize(x[others])).kneighbors(normalize(x[some]))[1]
        both = (1 - share) * linear[some] + share * (z[some] - z[others][nearest_others].mean(axis=1))
        gain = (linear[some] ** 2).sum() - (both**2).sum()
        loss += (linear[held] ** 2).sum() - gain * held.sum() / len(some)
    return -loss / z.size


# With more columns than principal components, only the components are searched, unless the rows are rotated. The
# unrotated case has a rank low enough for the components to contain everything.
@pytest.mark.parametrize("texts", [None, 7])
@pytest.mark.parametrize(
    ("rows", "width", "rank", "sample_rows"),
    [(200, 12, None, 200), (200, 260, None, 200), (250, 160, 40, 250), (200, 12, None, 60), (200, 12, None, 24)],
)
def test_the_score_is_what_its_definition_says_and_no_other_mixture_is_better(
    monkeypatch: pytest.MonkeyPatch, rows: int, width: int, rank: int | None, sample_rows: int, texts: int | None
) -> None:
    monkeypatch.setattr(moments, "SAMPLE_ROWS", sample_rows)
    x, labels = problem(rows, width, texts=texts, rank=rank)
    sample = np.argsort(content_keys(x))[:sample_rows]
    score = hf_emms.emms(x, labels, groups=range(rows))
    share, ridge, weights = (score.details[name] for name in ("neighbors", "ridge", "weights"))
    assert score.value == pytest.approx(slow_score(x, labels, ridge, share, weights, sample), rel=1e-6)
    assert score.value >= scored("emms", x, labels, groups=range(rows)).value
    steps = (-0.05, 0, 0.05)
    for other, weight in product((share + step for step in steps), (weights[0] + step for step in steps)):
        if 0 <= other <= 1 and 0 <= weight <= 1:
            assert slow_score(x, labels, ridge, other, [weight, 1 - weight], sample) <= score.value + 1e-9


def test_rows_of_equal_features_are_a_group_unless_all_are_equal() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2))
    keys = groups_by_content([x, x[[1, 0]]])
    assert (len({*keys}), keys.tolist()) == (3, content_keys(x)[[0, 1, 2, 1, 0]].tolist())
    assert groups_by_content([x[:1], x[[0, 0]]]).tolist() == [0, 1, 2]


def test_among_many_rows_neighbors_are_the_nearest_of_some_in_any_order() -> None:
    rng = np.random.default_rng(0)
    x, folds, k = rng.normal(size=(300, 6)), rng.integers(0, 5, 300), 4
    found, usable = nearest(x, folds, k, most=60)
    candidates = np.argsort(content_keys(x))[:60]
    for row in range(300):
        others = candidates[folds[candidates] != folds[row]]
        cosines = normalize(x[others]) @ normalize(x[[row]])[0]
        assert found[row].tolist() == others[np.argsort(-cosines)[:k]].tolist()
    assert usable.all()
    order = rng.permutation(300)
    again, _ = nearest(x[order], folds[order], k, most=60)
    assert np.array_equal(order[again], found[order])


def test_neighbors_need_rows() -> None:
    x, labels = problem(60, 4)
    sums = Moments.like(labels, 4)
    sums.update(x, labels)
    for name in ("emms_knn", "knn"):
        with raises_code("inputs-missing", "rows"):
            ESTIMATORS[name].score(ScoringInputs(sums))


def test_no_score_is_better_than_perfect() -> None:
    x, labels = np.eye(3)[np.arange(90) % 3], LabelTable(np.arange(90) % 3, (np.eye(3),))
    score = scored("emms_knn", x.astype(np.float32), labels, groups=np.arange(90))
    assert score.value == pytest.approx(0.0, abs=1e-6)
    assert max(score.value, *score.folds) <= 0
    assert score.details["r2"] <= 1
