"""EMMS with neighbours: the ridge and the nearest rows together, held out by fold."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize

import hf_emms
from hf_emms import EmmsError, LabelTable, Moments
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.scoring import Score
from hf_emms.scoring.arrays import assign_folds, content_keys, group_ids, groups_by_content
from hf_emms.scoring.estimators import ScoringInputs
from hf_emms.scoring.moments import SAMPLE_ROWS
from hf_emms.scoring.neighbours import COMPONENTS, NEIGHBOURS, nearest, principal_axes


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
    moments = Moments.like(labels, x.shape[1], folds=folds)
    moments.update(x, labels, keys)
    return ESTIMATORS[name].score(ScoringInputs(moments, x, labels, keys))


def slow_score(x: np.ndarray, labels: LabelTable, ridge: float, share: float, weights: list[float]) -> float:
    """The definition, fold by fold with scikit-learn, at given weights of base learners and F-labels."""
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
    left = np.empty_like(z)
    for fold in range(5):
        held, rest = folds == fold, folds != fold
        linear = Ridge(alpha=ridge * rest.sum()).fit(x[rest], z[rest]).predict(x[held])
        found = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(normalize(x[rest])).kneighbors(normalize(x[held]))[1]
        left[held] = z[held] - (1 - share) * linear - share * z[rest][found].mean(axis=1)
    return -float((left**2).mean())


# The last two have more columns than principal components are looked at, of a rank that these hold.
@pytest.mark.parametrize(
    ("rows", "width", "texts", "rank"),
    [
        *[(200, 12, None, None), (200, 12, 7, None), (200, 260, None, None), (200, 260, 7, None)],
        *[(250, 160, None, 40), (250, 160, 7, 40)],
    ],
)
def test_the_score_is_what_its_definition_says_and_no_other_mixture_is_better(
    rows: int, width: int, texts: int | None, rank: int | None
) -> None:
    x, labels = problem(rows, width, texts=texts, rank=rank)
    score = scored("emms_knn", x, labels, groups=range(rows))
    share, ridge, weights = (score.details[name] for name in ("neighbours", "ridge", "weights"))
    assert score.value == pytest.approx(slow_score(x, labels, ridge, share, weights), rel=1e-6)
    assert score.value >= scored("emms", x, labels, groups=range(rows)).value
    assert 0 <= share <= 1
    steps = (-0.05, 0, 0.05)
    for other, weight in product((share + step for step in steps), (weights[0] + step for step in steps)):
        if 0 <= other <= 1 and 0 <= weight <= 1:
            assert slow_score(x, labels, ridge, other, [weight, 1 - weight]) <= score.value + 1e-9


def test_labels_that_features_tell_only_by_their_neighbourhood_are_explained() -> None:
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(400, 2)) + 0.1 * rng.normal(size=(400, 2))
    labels = LabelTable((x[:, 0] * x[:, 1] > 0).astype(int), (np.eye(2),))
    assert scored("emms", x, labels).details["r2"] < 0.05
    both = scored("emms_knn", x, labels)
    assert both.details["r2"] > 0.95
    assert both.details["neighbours"] > 0.9


@pytest.mark.parametrize("texts", [None, 6])
def test_copies_of_a_row_in_its_own_group_are_no_neighbours(texts: int | None) -> None:
    x, labels = problem(150, 6, texts=texts)
    twice = np.tile(np.arange(150), 2)
    copied = labels.take(twice)
    apart = scored("emms_knn", x[twice], copied, groups=twice)
    assert apart.value == pytest.approx(scored("emms_knn", x, labels).value, rel=0.1)
    assert scored("emms_knn", x[twice], copied, groups=np.arange(300)).value > 0.85 * apart.value
    # Without ids, rows of equal features are a group.
    assert scored("emms_knn", x[twice], copied).value == pytest.approx(apart.value, rel=0.1)


def test_among_many_rows_neighbours_are_the_nearest_of_some_in_any_order() -> None:
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


def test_principal_axes_hold_the_variance_of_the_first_components() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 300)) * np.geomspace(10, 0.01, 300)
    x -= x.mean(axis=0)
    axes = principal_axes(np.triu(x.T @ x))
    np.testing.assert_allclose(axes.T @ axes, np.eye(COMPONENTS), atol=1e-8)
    most = (np.linalg.svd(x, compute_uv=False)[:COMPONENTS] ** 2).sum()
    assert 0.999 * most < ((x @ axes) ** 2).sum() <= most * (1 + 1e-9)


@pytest.mark.parametrize("texts", [None, 6])
def test_rows_in_batches_and_merged_moments_give_the_score_of_all_rows_at_once(
    tmp_path: Path, texts: int | None
) -> None:
    """Of a sample of rows, which is the same one in any order, and after moments were saved and loaded."""
    x, labels = problem(9_000, 5, texts=texts)
    ids = np.arange(len(x))
    whole = scored("emms_knn", x, labels, ids)

    def of(rows: np.ndarray) -> Moments:
        moments = Moments.like(labels, 5, sample_rows=SAMPLE_ROWS)
        for part in np.array_split(rows, 7):
            moments.update(x[part], labels.take(part), ids[part])
        return moments

    # All rows of the first are buffered until both are merged.
    first, second = np.split(np.random.default_rng(1).permutation(len(x)), [4_000])
    streamed, merged = of(np.arange(len(x))), of(first).merge(of(second))
    hf_emms.save_moments(merged, tmp_path / "moments.npz")
    for moments in (streamed, merged, of(second).merge(of(first)), hf_emms.load_moments(tmp_path / "moments.npz")):
        score = hf_emms.emms(moments, method="emms_knn")
        assert score.value == pytest.approx(whole.value, rel=1e-9)
        assert score.details["neighbours"] == pytest.approx(whole.details["neighbours"], abs=1e-7)
    kept = streamed.sample()
    assert kept is not None
    assert len(kept) == SAMPLE_ROWS < len(x)


@pytest.mark.parametrize("texts", [None, 6])
def test_a_sample_of_rows_gives_nearly_the_score_of_all(texts: int | None) -> None:
    x, labels = problem(4_000, 5, texts=texts)
    alone, both = (scored(name, x, labels, range(len(x))) for name in ("emms", "emms_knn"))
    some = Moments.like(labels, 5, sample_rows=3_000)
    some.update(x, labels, range(len(x)))
    assert hf_emms.emms(some, method="emms_knn").value == pytest.approx(
        both.value, abs=0.1 * (both.value - alone.value)
    )


def test_moments_that_keep_no_rows_are_refused() -> None:
    x, labels = problem(60, 4)
    moments = Moments.like(labels, 4)
    moments.update(x, labels)
    for name in ("emms_knn", "knn"):
        with pytest.raises(EmmsError, match="neighbours need rows"):
            ESTIMATORS[name].score(ScoringInputs(moments))


def test_no_score_is_better_than_perfect() -> None:
    x, labels = np.eye(3)[np.arange(90) % 3], LabelTable(np.arange(90) % 3, (np.eye(3),))
    score = scored("emms_knn", x.astype(np.float32), labels, groups=np.arange(90))
    assert score.value == pytest.approx(0.0, abs=1e-6)
    assert max(score.value, *score.folds) <= 0
    assert score.details["r2"] <= 1
