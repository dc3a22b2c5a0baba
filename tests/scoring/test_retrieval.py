from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize

from hf_emms.run.rows import groups_of_queries
from hf_emms.scoring.arrays import assign_folds
from hf_emms.scoring.retrieval import (
    STRENGTHS,
    SearchScores,
    adapted_ndcg,
    leave_out,
    mrr,
    ndcg_of_queries,
    recall,
    recalls,
    reciprocal_ranks,
    relevant_places,
    zero_shot_ndcg,
)
from tests.helpers.dense_search import CISI, NFCORPUS, dense_search
from tests.helpers.errors import raises_code
from tests.helpers.samples import load_sample


def collection(seed: int, queries: int = 12, documents: int = 40, width: int = 6, **changes: Any) -> SearchScores:
    rng = np.random.default_rng(seed)
    pairs = {(query, int(rng.integers(documents))) for query in range(queries) for _ in range(3)}
    judgments = np.array([(*pair, rng.integers(-1, 3)) for pair in sorted(pairs)])
    judgments[np.unique(judgments[:, 0], return_index=True)[1], 2] = 2
    return SearchScores(
        rng.normal(size=(queries, width)).astype(np.float32),
        rng.normal(size=(documents, width)).astype(np.float32),
        judgments,
        np.arange(queries, dtype=np.uint64),
        **changes,
    )


def ranked_documents(retrieval: SearchScores) -> np.ndarray:
    """Return the documents of each query, the best first, from the matrix of all scores in double precision.

    Documents that a query does not search are its last.
    """
    queries, documents = retrieval.queries.astype(np.float64), retrieval.documents.astype(np.float64)
    differences = queries[:, None] - documents[None]
    scores = {
        "cosine": (queries / np.linalg.norm(queries, axis=1, keepdims=True))
        @ (documents / np.linalg.norm(documents, axis=1, keepdims=True)).T,
        "dot": queries @ documents.T,
        "euclidean": -np.linalg.norm(differences, axis=2),
        "manhattan": -np.abs(differences).sum(axis=2),
    }[retrieval.similarity]
    for query, document, grade in retrieval.judgments.tolist():
        if grade < 0:
            scores[query, document] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_metrics_are_those_of_the_sorted_documents(similarity: Any, seed: int) -> None:
    retrieval = collection(seed, documents=150, similarity=similarity)
    if similarity == "dot":
        retrieval = replace(retrieval, queries=1000 * retrieval.queries, documents=1000 * retrieval.documents)
    with pytest.MonkeyPatch.context() as blocks:  # of a few queries and documents each
        blocks.setattr("hf_emms.scoring.retrieval._BLOCK_QUERIES", 5)
        blocks.setattr("hf_emms.scoring.retrieval._BLOCK_SCORES", 300)
        assert len(retrieval.places) == len(retrieval.relevant)
    ndcg, reciprocal, shares = [], [], []
    for query, order in enumerate(ranked_documents(retrieval)):
        grade_of = {d: g for q, d, g in retrieval.judgments.tolist() if q == query and g > 0}
        gains = np.array([grade_of.get(int(document), 0) for document in order])
        discounts = 1 / np.log2(np.arange(2, 12))
        ideal = np.sort(gains)[::-1][:10] @ discounts
        ndcg.append(gains[:10] @ discounts / ideal)
        first = np.flatnonzero(gains)[0]
        reciprocal.append(1 / (first + 1) if first < 10 else 0)
        shares.append(np.count_nonzero(gains[:100]) / len(grade_of))
    assert zero_shot_ndcg(retrieval).value == pytest.approx(np.mean(ndcg))
    assert mrr(retrieval).value == pytest.approx(np.mean(reciprocal))
    assert recall(retrieval).value == pytest.approx(np.mean(shares))


def test_what_a_query_does_not_search_is_left_out_of_a_block_of_scores() -> None:
    grades = np.random.default_rng(0).integers(-1, 2, size=(6, 7))
    judgments, scores = np.array([(*pair, grade) for pair, grade in np.ndenumerate(grades)]), np.zeros((3, 4))
    leave_out(scores, judgments, 1, 2)
    np.testing.assert_array_equal(scores, np.where(grades[1:4, 2:6] < 0, -np.inf, 0))


def test_a_query_without_a_relevant_document_counts_as_one_that_finds_none() -> None:
    for metric in (ndcg_of_queries, reciprocal_ranks, recalls):
        assert metric(np.array([[1, 0, 1]]), np.ones(1), 2).tolist() == [0, 1]


def test_a_model_that_tells_nothing_apart_finds_nothing() -> None:
    retrieval = collection(2)
    for value in (0, 1):
        documents = np.full_like(retrieval.documents, value)
        blind = replace(retrieval, documents=documents, judgments=np.maximum(retrieval.judgments, 0))
        assert set(relevant_places(blind)) == {(1 + 40) / 2}
        assert zero_shot_ndcg(blind).value == mrr(blind).value == 0


@pytest.mark.parametrize(("spread", "share"), [(1e-3, 1.0), (1e-6, 0.0)])
def test_similar_documents_are_told_apart_as_far_as_float32_can_represent_them(spread: float, share: float) -> None:
    """The cosines of the first ones differ by 1e-6, but their embeddings by much more than rounding."""
    search, rng = collection(5, queries=40, documents=40), np.random.default_rng(5)
    near = (1 + spread * rng.normal(size=(40, 64))).astype(np.float32)
    judgments = np.column_stack([np.arange(40), np.arange(40), np.ones(40, np.int64)])
    search = replace(search, queries=near, documents=near.copy(), judgments=judgments)
    assert np.ptp(normalize(near.astype(np.float64)) @ normalize(near.astype(np.float64)).T) < 1e-5
    assert mrr(search).value == pytest.approx(share, abs=0.05)
    double = replace(search, documents=np.repeat(near, 2, axis=0))
    assert set(relevant_places(replace(double, judgments=judgments * [1, 2, 1]))) == ({1.5} if share else {40.5})


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_rounding_of_embeddings_does_not_change_shared_ranks(similarity: Any) -> None:
    search, rng = collection(6, 20, 30, 64, similarity=similarity), np.random.default_rng(6)
    documents = np.repeat(search.documents, 2, axis=0)
    rounded = (documents * (1 + 5e-7 * rng.normal(size=documents.shape))).astype(np.float32)
    judgments = search.judgments * [1, 2, 1]
    exact, other = (replace(search, documents=each, judgments=judgments) for each in (documents, rounded))
    np.testing.assert_array_equal(exact.places, other.places)
    assert set(exact.places % 1) == {0.5}


def mean_relevant(search: SearchScores, documents: np.ndarray) -> np.ndarray:
    """Return the mean of each query's relevant documents by their grades, (Q, D)."""
    shares = np.zeros((len(search.queries), len(documents)))
    shares[search.relevant[:, 0], search.relevant[:, 1]] = search.relevant[:, 2]
    return normalize(shares, "l1") @ documents


def learnable(queries: int, width: int, noise: float, similarity: Any = "cosine") -> SearchScores:
    """Return queries that are the means of their documents after a rotation, which a linear map can undo."""
    rng, search = np.random.default_rng(4), collection(4, queries, 2 * queries, width, similarity=similarity)
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0] if noise else np.eye(width)
    moved = mean_relevant(search, search.documents) @ rotation + noise * rng.normal(size=(queries, width))
    return replace(search, queries=moved.astype(np.float32), groups=search.groups // 2)


def slow_adapted_ndcg(search: SearchScores) -> tuple[float, int]:
    """The definition, and how many folds stay unchanged, by a regression of scikit-learn for each fold and strength."""
    fold_of = assign_folds(search.groups, 5, 0)
    vectors = (search.queries.astype(np.float64), search.documents.astype(np.float64))
    queries, documents = map(normalize, vectors) if search.similarity == "cosine" else vectors
    values = []
    for strength in STRENGTHS:
        mapped = queries.copy()
        for fold in range(5 if np.isfinite(strength) else 0):
            held_out = fold_of == fold
            answers = {document for query, document, _ in search.relevant.tolist() if held_out[query]}
            kept = np.array([row for row in search.relevant.tolist() if row[1] not in answers])
            rest = np.unique(kept[:, 0])
            moves = mean_relevant(replace(search, judgments=kept), documents)[rest] - queries[rest]
            ridge = Ridge(alpha=strength * (queries[rest] ** 2).sum(axis=1).mean(), fit_intercept=False)
            mapped[held_out] += ridge.fit(queries[rest], moves).predict(queries[held_out])
        places = relevant_places(replace(search, queries=mapped))
        values.append(ndcg_of_queries(search.relevant, places, len(queries)))
    others = np.array([[value[fold_of != fold].mean() for value in values] for fold in range(5)])
    best = [np.flatnonzero(means == means.max())[-1] for means in others]
    chosen = [values[best[fold]][query] for query, fold in enumerate(fold_of)]
    return float(np.mean(chosen)), best.count(len(STRENGTHS) - 1)


@pytest.mark.parametrize(
    "search",
    [learnable(90, 12, 0.1), learnable(90, 12, 0.1, "dot"), learnable(40, 60, 0.3), learnable(60, 64, 0.0)],
)
def test_the_map_is_a_regression_on_the_other_folds_as_strong_as_is_best_there(search: SearchScores) -> None:
    score, queries = adapted_ndcg(search), len(search.queries)
    value, unchanged = slow_adapted_ndcg(search)
    assert score.value == pytest.approx(value)
    told = {"rows": queries, "queries": queries, "documents": 2 * queries}
    assert score.details == {**told, "folds": 5, "unchanged_folds": unchanged}


def test_queries_that_all_share_a_document_cannot_be_held_out() -> None:
    search = collection(7)
    shared = np.column_stack([np.arange(12), np.zeros(12, np.int64), np.ones(12, np.int64)])
    for alone in (replace(search, judgments=shared), replace(search, groups=np.zeros(12, np.uint64))):
        with raises_code("shared-documents"):
            adapted_ndcg(alone)
        assert zero_shot_ndcg(alone).stderr is not None


def test_the_map_does_not_learn_documents_of_held_out_queries() -> None:
    """Random queries find popular documents only by what other queries share with them."""
    rng, width = np.random.default_rng(0), 32
    popular = np.array([(query, document, 1) for query in range(100) for document in rng.choice(12, 3, replace=False)])
    queries, documents = (rng.normal(size=(count, width)).astype(np.float32) for count in (100, 300))
    search = SearchScores(queries, documents, popular, np.arange(100, dtype=np.uint64))
    assert zero_shot_ndcg(search).value < 0.1
    with raises_code("shared-documents"):
        adapted_ndcg(search)
    rare = np.array([(query, 12 + query, 1) for query in range(100)])
    assert adapted_ndcg(replace(search, judgments=np.concatenate([popular, rare]))).value < 0.1


@pytest.mark.parametrize("shape", [CISI, NFCORPUS])
def test_standard_errors_are_those_of_a_bootstrap_over_queries(shape: dict[str, Any]) -> None:
    sample = load_sample(dense_search(**shape), task="text-retrieval")
    texts, rng, n_queries = sample.inputs, np.random.default_rng(1), shape["queries"]
    assert len(np.unique(sample.groups)) == len(texts.queries) == n_queries
    vectors = (rng.normal(size=(len(part), 48)).astype(np.float32) for part in (texts.queries, texts.documents))
    search = SearchScores(*vectors, texts.judgments, groups_of_queries(sample))
    for score, values in ((zero_shot_ndcg, ndcg_of_queries), (mrr, reciprocal_ranks), (recall, recalls)):
        of_queries = values(search.relevant, search.places, n_queries)
        means = of_queries[rng.integers(0, n_queries, (4000, n_queries))].mean(axis=1)
        assert score(search).stderr == pytest.approx(means.std(), rel=0.1)
