"""Scores of rerankers: nDCG@10 and MRR@10 after a checkpoint reranks the first documents by BM25.

Other documents are not found. Documents with equal scores share a mean rank.
"""

from __future__ import annotations

import numpy as np

from hf_emms.scoring import Score
from hf_emms.scoring.retrieval import SearchScores, mean_of_queries, ndcg_of_queries, reciprocal_ranks

# Documents per query, and maximum of queries. The checkpoint reads each pair of both.
CANDIDATES, MAX_QUERIES = 100, 256
# Scores count as equal within this share of the largest score of a query. Batching and padding change them as much.
_EQUAL = 1e-5


def drawn_queries(groups: np.ndarray) -> np.ndarray:
    """Choose which queries are scored, int64 (q,). The choice is the same for all checkpoints.

    `groups` has the group of each query, uint64 (Q,).
    """
    return np.sort(np.argsort(groups, kind="stable")[:MAX_QUERIES])  # groups are hashes


def count_pairs(queries: int, documents: int) -> int:
    """Return the number of pairs that a reranker scores, given the numbers of queries and documents."""
    return min(queries, MAX_QUERIES) * min(documents, CANDIDATES)


def reranked_places(
    candidates: np.ndarray, scores: np.ndarray, judgments: np.ndarray, relevant: np.ndarray
) -> np.ndarray:
    """Return the rank of each relevant document among the candidates of its query, float64 (R,), from 1.

    Args:
        candidates: Documents, int64 (q, c).
        scores: Of the candidates, (q, c).
        judgments: Query, document and grade, int64 (J, 3). Documents with a grade below 0 are left out.
        relevant: Judgments with a grade above 0, int64 (R, 3).
    """
    tolerances = _EQUAL * np.abs(scores.astype(np.float64)).max(axis=1)
    searching, itself, _ = judgments[judgments[:, 2] < 0].T
    is_left_out = np.zeros(candidates.shape, np.bool_)
    np.logical_or.at(is_left_out, searching, candidates[searching] == itself[:, None])
    scores = np.where(is_left_out, -np.inf, scores.astype(np.float64))
    queries, documents, _ = relevant.T
    is_itself = candidates[queries] == documents[:, None]
    is_candidate = is_itself.any(axis=1)
    queries, is_itself = queries[is_candidate], is_itself[is_candidate]
    ahead = scores[queries] - scores[queries][is_itself][:, None]
    tolerance = tolerances[queries, None]
    places = np.full(len(relevant), np.inf)
    places[is_candidate] = (ahead > tolerance).sum(axis=1) + ((np.abs(ahead) <= tolerance).sum(axis=1) + 1) / 2
    return places


def reranked_ndcg(search: SearchScores) -> Score:
    """Return the mean nDCG@10 of at most `MAX_QUERIES` queries, with its standard error over queries."""
    drawn = _of_drawn_queries(search)
    return mean_of_queries(ndcg_of_queries(drawn.relevant, drawn.places, len(drawn.queries)), drawn, MAX_QUERIES)


def reranked_mrr(search: SearchScores) -> Score:
    """Return the mean reciprocal rank of the first relevant document among the first ten, for the same queries."""
    drawn = _of_drawn_queries(search)
    return mean_of_queries(reciprocal_ranks(drawn.relevant, drawn.places, len(drawn.queries)), drawn, MAX_QUERIES)


def _of_drawn_queries(search: SearchScores) -> SearchScores:
    queries = drawn_queries(search.groups)
    is_drawn = np.isin(search.relevant[:, 0], queries)
    judgments = search.relevant[is_drawn]
    judgments[:, 0] = np.searchsorted(queries, judgments[:, 0])
    # Sorted queries keep the order of relevant documents.
    return SearchScores.placed(
        judgments, search.groups[queries], len(search.documents), lambda relevant: search.places[is_drawn]
    )
