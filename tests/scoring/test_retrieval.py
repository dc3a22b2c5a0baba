from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emms import EmmsError
from hf_emms.scoring.retrieval import Retrieval, adapted_ndcg, mrr, recall, relevant_places, zero_shot_ndcg


def collection(seed: int, queries: int = 12, documents: int = 40, width: int = 6, **changes: Any) -> Retrieval:
    rng = np.random.default_rng(seed)
    pairs = {(query, int(rng.integers(documents))) for query in range(queries) for _ in range(3)}
    judgements = np.array([(*pair, rng.integers(-1, 3)) for pair in sorted(pairs)])
    judgements[np.unique(judgements[:, 0], return_index=True)[1], 2] = 2
    return Retrieval(
        rng.normal(size=(queries, width)).astype(np.float32),
        rng.normal(size=(documents, width)).astype(np.float32),
        judgements,
        np.arange(queries, dtype=np.uint64),
        **changes,
    )


def ranked_documents(retrieval: Retrieval) -> np.ndarray:
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
    for query, document, grade in retrieval.judgements.tolist():
        if grade < 0:
            scores[query, document] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_metrics_are_those_of_the_sorted_documents(similarity: Any, seed: int) -> None:
    retrieval = collection(seed, documents=150, similarity=similarity)
    ndcg, reciprocal, shares = [], [], []
    for query, order in enumerate(ranked_documents(retrieval)):
        grade_of = {d: g for q, d, g in retrieval.judgements.tolist() if q == query and g > 0}
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


def test_places_are_the_same_whatever_the_blocks() -> None:
    retrieval = collection(1, queries=1_030, documents=4_000, width=4)
    places = relevant_places(retrieval)
    order = np.argsort(ranked_documents(retrieval), axis=1)
    expected = order[retrieval.relevant[:, 0], retrieval.relevant[:, 1]] + 1
    # Neighbours closer than the precision of float32 share a place.
    assert np.abs(places - expected).max() <= 1.5
    assert np.mean(places == expected) > 0.9


def test_a_model_that_tells_nothing_apart_finds_nothing() -> None:
    retrieval = collection(2)
    blind = replace(
        retrieval, documents=np.ones_like(retrieval.documents), judgements=np.maximum(retrieval.judgements, 0)
    )
    assert set(relevant_places(blind)) == {(1 + 40) / 2}
    assert zero_shot_ndcg(blind).value == mrr(blind).value == 0


def test_the_error_counts_groups_not_queries() -> None:
    once = collection(3)
    four_times = replace(
        once,
        queries=np.tile(once.queries, (4, 1)),
        judgements=np.concatenate([once.judgements + np.array([12 * copy, 0, 0]) for copy in range(4)]),
        groups=np.tile(once.groups, 4),
    )
    alone, copied = zero_shot_ndcg(once), zero_shot_ndcg(four_times)
    assert (copied.value, copied.stderr) == pytest.approx((alone.value, alone.stderr))


def rotated(seed: int, queries: int, width: int, noise: float) -> Retrieval:
    """Return queries that are their documents after a rotation, which a linear map can undo."""
    rng = np.random.default_rng(seed)
    documents = rng.normal(size=(queries, width))
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    seen = documents @ rotation + noise * rng.normal(size=documents.shape)
    judgements = np.column_stack([np.arange(queries), np.arange(queries), np.ones(queries, int)])
    return Retrieval(
        seen.astype(np.float32), documents.astype(np.float32), judgements, np.arange(queries, dtype=np.uint64)
    )


@pytest.mark.parametrize(("queries", "width"), [(200, 8), (60, 96)])
def test_the_map_learns_what_a_linear_map_can_learn_and_never_sees_the_queries_that_it_is_measured_on(
    queries: int, width: int
) -> None:
    learnable = rotated(4, queries, width, 0.1)
    noise = replace(learnable, queries=np.random.default_rng(5).normal(size=(queries, width)).astype(np.float32))
    assert adapted_ndcg(learnable).value > zero_shot_ndcg(learnable).value + (0.5 if queries > width else 0)
    assert adapted_ndcg(noise).value < zero_shot_ndcg(noise).value + 0.05
    products = replace(learnable, similarity="dot")
    larger = replace(products, queries=1024 * products.queries, documents=1024 * products.documents)
    assert adapted_ndcg(larger) == adapted_ndcg(products)


def test_a_map_that_would_harm_is_not_applied() -> None:
    retrieval = rotated(6, 100, 64, 0.0)
    perfect = replace(retrieval, queries=retrieval.documents)
    score = adapted_ndcg(perfect)
    assert score.value == 1
    assert score.details["unchanged_folds"] == score.details["folds"]


def test_queries_that_all_share_a_document_cannot_be_held_out() -> None:
    retrieval = replace(collection(7), groups=np.zeros(12, np.uint64))
    with pytest.raises(EmmsError, match="none can be held out"):
        adapted_ndcg(retrieval)
