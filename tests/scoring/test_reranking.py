"""Rerankers: places among the first documents by BM25, and the queries that are scored."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emms.scoring.bm25 import first_documents, word_search
from hf_emms.scoring.reranking import count_pairs, drawn_queries, reranked_mrr, reranked_ndcg, reranked_places

NONE = np.empty((0, 3), np.int64)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_place_is_that_among_the_sorted_scores_and_ties_share_theirs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidates = np.array([rng.permutation(9)[:6] for _ in range(4)])
    scores = rng.integers(-3, 4, size=(4, 6)).astype(np.float32) * 1000.1
    scores[0] = 0
    relevant = np.array([(query, document, 1) for query in range(4) for document in range(9)])
    noise = rng.normal(size=scores.shape) * 1e-7 * np.abs(scores).max(axis=1, keepdims=True)
    expected = []
    for query, document, _ in relevant:
        score = scores[query][candidates[query] == document]
        equal = np.flatnonzero(np.sort(-scores[query]) == -score) if len(score) else [np.inf]
        expected.append(1 + np.mean(equal))
    np.testing.assert_array_equal(reranked_places(candidates, scores, relevant, relevant), expected)
    np.testing.assert_array_equal(reranked_places(candidates, scores + noise, relevant, relevant), expected)


def test_a_search_is_scored_on_some_queries_the_same_in_any_order() -> None:
    rng = np.random.default_rng(0)
    documents = [f"{word} {word} {number}0" for number, word in enumerate("abcdefghij" * 20)]
    queries = [f"{(query + rng.integers(3)) % 200}0 {rng.integers(200)}0" for query in range(306)]
    pairs = [(query, document) for query in range(len(queries)) for document in (query % 200, 199 - query % 200)]
    judgments = np.array([(*pair, 1) for pair in pairs])
    groups = rng.integers(0, 2**63, size=len(queries)).astype(np.uint64)
    drawn = drawn_queries(groups)
    np.testing.assert_array_equal(drawn, np.flatnonzero(groups <= np.sort(groups)[255]))
    whole = word_search(queries, documents, judgments, groups)
    kept = judgments[np.isin(judgments[:, 0], drawn)]
    kept[:, 0] = np.searchsorted(drawn, kept[:, 0])
    part = word_search([queries[query] for query in drawn], documents, kept, groups[drawn])
    for score in (reranked_ndcg, reranked_mrr):
        assert score(whole) == score(part)
        assert score(whole).details["row_limit"] == 256


def test_the_first_documents_are_those_of_bm25_and_no_more_than_there_are() -> None:
    documents = ["apple pie", "red apple", "green pear", "small boat"]
    np.testing.assert_array_equal(first_documents(["pear", "apple red"], documents, NONE), [[2, 0, 1, 3], [1, 0, 2, 3]])
    many = [f"boat {number}" for number in range(150)]
    assert first_documents(["boat 120"], many, NONE).shape == (1, 100)
    assert first_documents(["boat 120"], many, NONE)[0, 0] == 120
    assert (count_pairs(300, 150), count_pairs(3, 7)) == (256 * 100, 3 * 7)


def test_a_query_that_is_a_document_itself_does_not_find_itself() -> None:
    documents = ["apple pie", "red apple", "green pear"]
    judgments = np.array([(0, 0, -1), (0, 1, 1), (1, 0, 0), (1, 2, 1)])
    candidates = first_documents(["apple pie", "pear"], documents, judgments)
    np.testing.assert_array_equal(candidates, [[1, 2, 0], [2, 0, 1]])
    scores = np.array([[0.5, 0.2, 0.9], [0.1, 0.3, 0.2]])
    relevant = judgments[judgments[:, 2] > 0]
    np.testing.assert_array_equal(reranked_places(candidates, scores, judgments, relevant), [1, 3])
    np.testing.assert_array_equal(reranked_places(candidates, scores, relevant, relevant), [2, 3])
