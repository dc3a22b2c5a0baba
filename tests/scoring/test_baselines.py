"""LogME, k-NN and H-score against what their definitions say, computed the slow way."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, zscore
from sklearn.preprocessing import normalize

from hf_emms import LabelTable, Moments
from hf_emms.ranking.estimators import get_estimator
from hf_emms.scoring import Score
from hf_emms.scoring.arrays import groups_by_content
from hf_emms.scoring.estimators import Estimator, ScoringInputs
from hf_emms.scoring.in_sample import logme, logme_flabels
from hf_emms.scoring.neighbors import knn, nearest
from hf_emms.scoring.quantity import Quantity
from tests.helpers.errors import raises_code


def classes(seed=0, n=200, d1=8, u=4, noise=1.0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, u, size=n)
    x = rng.normal(size=(u, d1))[codes] + noise * rng.normal(size=(n, d1)) + 2.0
    # Neither a column that does not vary nor a text that no row has counts.
    wide = np.hstack([rng.normal(size=(u + 1, 5)), np.ones((u + 1, 1))])
    return x, LabelTable(codes, (wide, rng.normal(size=(u + 1, 3))))


def moments_of(x, labels):
    moments = Moments.like(labels, x.shape[1])
    moments.update(x, labels)
    return moments


def inputs_of(x, labels):
    return ScoringInputs(moments_of(x, labels), (x, labels, groups_by_content([x])))


def told(*rows):
    score = knn(rows)
    return score.value, score.stderr


def slow_logme(x, y):
    """Evidence per row at the fixed point of alpha and beta, as the density of y under the model it belongs to."""
    n = len(x)
    sigma, vectors = np.linalg.eigh(x @ x.T)
    sigma, projected = np.maximum(sigma, 0), (vectors.T @ y) ** 2
    alpha = beta = 1.0
    for _ in range(11):
        ratio = alpha / beta
        gamma = (sigma / (sigma + ratio)).sum()
        weights = (sigma * projected / (ratio + sigma) ** 2).sum()
        residual = (projected / (1 + sigma / ratio) ** 2).sum()
        alpha, beta = gamma / (weights + 1e-5), (n - gamma) / (residual + 1e-5)
        # The formula equals the density exactly where m is the posterior mean of this alpha and beta.
        if abs(alpha / beta - ratio) <= 1e-3 * ratio:
            break
    return multivariate_normal(np.zeros(n), np.eye(n) / beta + x @ x.T / alpha).logpdf(y) / n


@pytest.mark.parametrize(("n", "d1"), [(200, 8), (40, 90)])
def test_logme_is_the_inputs_of_the_labels(n, d1):
    x, labels = classes(n=n, d1=d1, noise=3.0)
    expected = np.mean([slow_logme(x, (labels.codes == u).astype(float)) for u in range(4)])
    assert float(logme(moments_of(x, labels))) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("n", "d1"), [(200, 8), (40, 90)])
def test_logme_on_f_labels_is_the_same_from_tables_and_from_columns(n, d1):
    x, labels = classes(n=n, d1=d1)
    dense = LabelTable.of_rows([table[labels.codes] for table in labels.tables])
    expected = float(logme(moments_of(x, dense)))
    assert float(logme_flabels(moments_of(x, labels))) == pytest.approx(expected, abs=1e-9)
    assert float(logme(moments_of(x, labels))) != pytest.approx(expected, abs=1e-3)
    few, all_columns = (LabelTable(labels.codes, (table,)) for table in (labels.tables[0][:, :5], labels.tables[0]))
    assert logme_flabels(moments_of(x, few)) == logme_flabels(moments_of(x, all_columns))


def test_hscore_is_the_trace_of_whitened_class_means():
    x, labels = classes()
    means = np.stack([x[labels.codes == code].mean(axis=0) for code in labels.codes])
    expected = np.trace(np.linalg.pinv(np.cov(x.T, bias=True)) @ np.cov(means.T, bias=True))
    assert get_estimator("hscore").score(inputs_of(x, labels)).value == pytest.approx(expected, rel=1e-8)
    for different in LabelTable.of_rows([x]), LabelTable(np.arange(200) % 101, (np.eye(101),)):
        with raises_code("labels-not-classes"):
            get_estimator("hscore").score(inputs_of(x, different))


def test_logme_reads_what_labels_mean_where_few_repeat():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(60, 4))
    meaning, x = hidden @ rng.normal(size=(4, 80)), hidden @ rng.normal(size=(4, 6)) + 0.1 * rng.normal(size=(60, 6))
    related, shuffled = (LabelTable(codes, (meaning,)) for codes in (np.arange(60), rng.permutation(60)))
    assert float(logme(moments_of(x, related))) > float(logme(moments_of(x, shuffled))) + 0.1
    assert logme(moments_of(x, related)) == logme_flabels(moments_of(x, related))


def test_knn_is_the_vote_or_the_mean_of_the_nearest_rows_of_other_groups():
    x, labels = classes(n=90, noise=3.0)
    unit = normalize(x - x.mean(axis=0))
    groups = np.arange(90) // 3
    others = [[i for i in np.argsort(-unit @ unit[row]) if groups[i] != groups[row]][:10] for row in range(90)]
    hits, ties = [], 0
    for code, rows in zip(labels.codes, others, strict=True):
        votes = np.bincount(labels.codes[rows], minlength=4)
        leaders = np.flatnonzero(votes == votes.max())
        ties += len(leaders) > 1
        hits.append(code == next(nearest for nearest in labels.codes[rows] if nearest in leaders))
    assert ties > 5
    share = np.mean(hits)
    assert told(x, labels, groups) == pytest.approx((share, np.sqrt(share * (1 - share) / 89)))
    embeddings = x @ np.random.default_rng(1).normal(size=(8, 3))
    z = zscore(embeddings)
    lost = ((z - z[others].mean(axis=1)) ** 2).mean(axis=1)
    expected = 1 - lost.mean(), lost.std(ddof=1) / np.sqrt(90)
    assert told(x, LabelTable.of_rows([embeddings]), groups) == pytest.approx(expected)
    with raises_code("one-group"):
        knn((x, labels, np.zeros(90)))
    assert nearest(np.eye(2), np.arange(2), 10)[0].tolist() == [[1], [0]]
    assert told(np.eye(2), LabelTable.of_rows([np.eye(2)[:, :1]]), np.arange(2)) == pytest.approx((-3, 0))


def test_knn_leaves_columns_out_that_differ_by_rounding_only():
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=(97, 4)), rng.normal(size=(97, 3)).astype(np.float32)
    small = np.float32([1, 1e-3, 1e-6])
    same = np.full((97, 29), 0.1, np.float32) * np.linspace(0, 3, 29, dtype=np.float32)
    padded, plain, constant = (LabelTable.of_rows([block]) for block in (np.hstack([z * small, same]), z, same))
    with np.errstate(all="raise"):
        assert told(x, padded, np.arange(97)) == pytest.approx(told(x, plain, np.arange(97)))
    with raises_code("labels-all-equal"):
        knn((x, constant, np.arange(97)))


def test_an_estimator_says_its_title_and_its_direction():
    bits = Quantity("bits per byte", higher_is_better=False)
    loss = Estimator("loss", "a loss", lambda inputs: Score(0.5, 0.1, (0.4, 0.6)), quantity=bits)
    assert (loss.title, get_estimator("knn").title) == ("loss", "k-NN")
    assert loss.score(None) == Score(-0.5, 0.1, (-0.4, -0.6))
    with raises_code("unknown-estimator", "parc", "logme"):
        get_estimator("parc")
    with raises_code("unknown-need"):
        Estimator("loss", "a loss", lambda inputs: Score(0.5), needs={"rows", "typo"})
    for score, told in (Score(np.nan), "nan"), (Score(0.5, np.inf), "0.5 ± inf"), (Score(2, None, (np.nan,)), "2"):
        with raises_code("not-finite", f"broken is {told}"):
            Estimator("broken", "a broken one", lambda inputs, score=score: score).score(None)
