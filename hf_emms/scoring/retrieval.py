"""Scores of embedding models for search: nDCG@10, MRR@10, recall@100, and nDCG@10 after a linear map of queries.

The map predicts what fine-tuning changes. Scores of queries and documents are computed in blocks, to save memory.
Documents with equal scores share a mean rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from hf_emms.errors import EmmsError
from hf_emms.scoring import SMALLEST_GAP, Score
from hf_emms.scoring.arrays import assign_folds
from hf_emms.scoring.ratio import ratio
from hf_emms.texts import setting_ref

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
Place = Callable[[np.ndarray], np.ndarray]
"""Computes the rank of each row of `SearchScores.relevant`, float64 (R,), from 1, or inf for documents not found."""

NDCG_DEPTH, RECALL_DEPTH = 10, 100
# Ridge strengths of the map, relative to the mean square of queries. An infinite strength leaves queries unchanged.
STRENGTHS = (1.0, 3.0, 10.0, 30.0, np.inf)
# Smaller differences of `sentence_search` often have another sign with real queries (docs/evidence-search.md).
_SENTENCES_GAP = 0.06
# Scores per block: 32 MB.
_BLOCK_SCORES = 2**22
_BLOCK_QUERIES = 1024
# The relative error of an embedding: float32 rounds each of its numbers by up to 6e-8, and batches of other lengths
# change it by up to 1e-6. Scores within the change that this error causes count as equal.
_ROUNDING = 2e-6


@dataclass(frozen=True)
class SearchScores:
    """The embeddings of queries and of the corpus that they search.

    Attributes:
        queries: float32, shape (Q, D).
        documents: float32, shape (M, D).
        judgments: int64, shape (J, 3): query, document and grade of relevance. Each query has a grade above 0.
            Queries do not search documents with a grade below 0.
        groups: uint64, shape (Q,). Queries of a group are in the same fold.
        similarity: How the model compares embeddings. For "euclidean" and "manhattan" it is the negative distance.
        folds: Number of folds of queries for the map.
        seed: Seed of the folds.
    """

    queries: np.ndarray
    documents: np.ndarray
    judgments: np.ndarray
    groups: np.ndarray
    similarity: Similarity = "cosine"
    folds: int = 5
    seed: int = 0

    @cached_property
    def relevant(self) -> np.ndarray:
        """Judgments with a grade above 0, int64 (R, 3), sorted by query and descending grade."""
        relevant = self.judgments[self.judgments[:, 2] > 0]
        return relevant[np.lexsort((-relevant[:, 2], relevant[:, 0]))]

    def truncated(self, width: int) -> Self:
        """Return the search with the first columns of the embeddings."""
        return replace(self, queries=self.queries[:, :width], documents=self.documents[:, :width])

    @classmethod
    def placed(cls, judgments: np.ndarray, groups: np.ndarray, documents: int, place: Place) -> Self:
        """Create a search without embeddings, given the number of documents and a function that computes ranks."""
        no_queries, no_documents = (np.empty((count, 0), np.float32) for count in (len(groups), documents))
        search = cls(no_queries, no_documents, judgments, groups)
        vars(search).update(places=place(search.relevant))
        return search

    @cached_property
    def places(self) -> np.ndarray:
        """The rank of each relevant document among all documents for its query, float64 (R,), from 1."""
        return relevant_places(self)


def relevant_places(retrieval: SearchScores) -> np.ndarray:
    """Return the rank of each relevant document for its query, float64 (R,), from 1. Equal scores share a mean rank.

    Only one block of scores is in memory, not all (Q, M).
    """
    relevant, documents = retrieval.relevant, retrieval.documents
    similarity, center = retrieval.similarity, documents.mean(axis=0)
    better, equal = np.zeros(len(relevant)), np.zeros(len(relevant))
    for rows in _blocks(len(retrieval.queries), _BLOCK_QUERIES):
        pairs = slice(*np.searchsorted(relevant[:, 0], (rows.start, rows.stop)))
        query_of, document_of = relevant[pairs, 0] - rows.start, relevant[pairs, 1]
        searching, of_pairs = _for_inner_products(retrieval.queries[rows], documents[document_of], center, similarity)
        paired = _paired_scores(searching[query_of], of_pairs, similarity)
        tolerances = _tolerances(retrieval.queries[rows][query_of], documents[document_of], similarity)[:, None]
        for columns in _blocks(len(documents), math.ceil(_BLOCK_SCORES / max(len(query_of), len(searching)))):
            _, block = _for_inner_products(retrieval.queries[rows], documents[columns], center, similarity)
            all_scores = _scores(searching, block, similarity)
            leave_out(all_scores, retrieval.judgments, rows.start, columns.start)
            scores = all_scores[query_of]
            scores -= paired[:, None]
            ahead = np.count_nonzero(scores > tolerances, axis=1)
            better[pairs] += ahead
            equal[pairs] += np.count_nonzero(scores >= -tolerances, axis=1) - ahead
    # A document is equal to itself.
    return 1 + better + np.maximum(equal - 1, 0) / 2


def leave_out(scores: np.ndarray, judgments: np.ndarray, first_query: int, first_document: int = 0) -> None:
    """Set the scores of documents that a query does not search to -inf, in place.

    Args:
        scores: Shape (b, m).
        judgments: See `SearchScores`.
        first_query: Query of the first row.
        first_document: Document of the first column.
    """
    rows, columns = (judgments[judgments[:, 2] < 0, :2] - (first_query, first_document)).T
    inside = (rows >= 0) & (rows < scores.shape[0]) & (columns >= 0) & (columns < scores.shape[1])
    scores[rows[inside], columns[inside]] = -np.inf


def _for_inner_products(
    queries: np.ndarray, documents: np.ndarray, center: np.ndarray, similarity: Similarity
) -> tuple[np.ndarray, np.ndarray]:
    """Transform embeddings so that inner products or L1 distances give the same order as the similarity.

    The results are float64, since cosines of similar documents may differ by less than float32 can represent. Euclidean
    distances order as q·d − |d|²/2, which is most precise around the center of the documents.
    """
    queries, documents = queries.astype(np.float64), documents.astype(np.float64)
    if similarity == "cosine":
        return _unit(queries), _unit(documents)
    if similarity == "euclidean":
        queries, documents = queries - center, documents - center
        halves = np.full(len(queries), -0.5)
        squares = np.einsum("md,md->m", documents, documents)
        return np.column_stack([queries, halves]), np.column_stack([documents, squares])
    return queries, documents


def _scores(queries: np.ndarray, documents: np.ndarray, similarity: Similarity) -> np.ndarray:
    """Return the scores of all pairs of transformed queries and documents, (b, m)."""
    return -cdist(queries, documents, "cityblock") if similarity == "manhattan" else queries @ documents.T


def _paired_scores(queries: np.ndarray, documents: np.ndarray, similarity: Similarity) -> np.ndarray:
    """Return the scores of n transformed queries with one document each, (n,)."""
    if similarity == "manhattan":
        return -np.abs(queries - documents).sum(axis=1)
    return np.einsum("nd,nd->n", queries, documents)


def _tolerances(queries: np.ndarray, documents: np.ndarray, similarity: Similarity) -> np.ndarray:
    """Return how much rounding can change the score of each of n pairs, (n,).

    It is the length of the document, times the norm of the score's gradient with respect to the document, times the
    relative error. For a cosine, this is the sine times the error: small if the query is similar to the document.
    """
    queries, documents = queries.astype(np.float64), documents.astype(np.float64)
    if similarity == "cosine":
        queries, documents = _unit(queries), _unit(documents)
        gradients = np.sqrt(np.maximum(1 - np.einsum("nd,nd->n", queries, documents) ** 2, 0))
    elif similarity == "manhattan":
        gradients = np.full(len(queries), math.sqrt(queries.shape[1]))
    else:
        gradients = np.linalg.norm(queries - documents if similarity == "euclidean" else queries, axis=1)
    lengths = np.linalg.norm(documents, axis=1)
    # If the gradient is 0, the score still changes with the square of the error.
    squares = (lengths + np.linalg.norm(queries, axis=1)) ** 2
    return _ROUNDING * np.maximum(lengths * gradients, _ROUNDING * squares)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1. Zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(vectors.dtype).tiny)


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


# ---- metrics ---------------------------------------------------------------------------------------------------------


def ndcg_of_queries(relevant: np.ndarray, places: np.ndarray, queries: int) -> np.ndarray:
    """Return nDCG@10 of each query, float64 (Q,), from `Retrieval.relevant` and its places; gains are the grades.

    Source: Järvelin and Kekäläinen 2002; as trec_eval computes it, which BEIR and mteb use.
    """
    gains = relevant[:, 2].astype(np.float64)
    ideal_places = np.arange(1, len(relevant) + 1) - np.searchsorted(relevant[:, 0], relevant[:, 0])
    reached = np.bincount(relevant[:, 0], _discounted(gains, places), queries)
    ideal = np.bincount(relevant[:, 0], _discounted(gains, ideal_places), queries)
    return np.divide(reached, ideal, out=np.zeros(queries), where=ideal > 0)


def _discounted(gains: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.where(places <= NDCG_DEPTH, gains / np.log2(1 + places), 0.0)


def zero_shot_ndcg(retrieval: SearchScores) -> Score:
    """Return the mean nDCG@10 of the queries, with its standard error over queries."""
    values = ndcg_of_queries(retrieval.relevant, retrieval.places, len(retrieval.queries))
    return mean_of_queries(values, retrieval)


def sentence_search(retrieval: SearchScores) -> Score:
    """Return the mean nDCG@10 of sentences that search for their documents.

    It has no standard error, because the difference from real queries is larger than the difference between sentences.
    """
    score = zero_shot_ndcg(retrieval)
    return replace(score, stderr=None, details=score.details | {SMALLEST_GAP: _SENTENCES_GAP})


def mrr(retrieval: SearchScores) -> Score:
    """Return the mean reciprocal rank of the first relevant document among the first ten."""
    return mean_of_queries(reciprocal_ranks(retrieval.relevant, retrieval.places, len(retrieval.queries)), retrieval)


def reciprocal_ranks(relevant: np.ndarray, places: np.ndarray, queries: int) -> np.ndarray:
    """Return the reciprocal rank per query, float64 (Q,). The arguments are the same as in `ndcg_of_queries`."""
    first = np.full(queries, np.inf)
    np.minimum.at(first, relevant[:, 0], places)
    return np.where(first <= NDCG_DEPTH, 1 / first, 0.0)


def recall(retrieval: SearchScores) -> Score:
    """Return the mean share of relevant documents among the first 100."""
    return mean_of_queries(recalls(retrieval.relevant, retrieval.places, len(retrieval.queries)), retrieval)


def recalls(relevant: np.ndarray, places: np.ndarray, queries: int) -> np.ndarray:
    """Return the recall per query, float64 (Q,). The arguments are the same as in `ndcg_of_queries`."""
    inside = np.bincount(relevant[:, 0], places <= RECALL_DEPTH, queries)
    return inside / np.maximum(np.bincount(relevant[:, 0], minlength=queries), 1)


def mean_of_queries(values: np.ndarray, retrieval: SearchScores, row_limit: int | None = None) -> Score:
    """Return the mean of one value per query, float64 (Q,), with its standard error over queries.

    `row_limit` is the maximum of queries.
    """
    score = ratio(np.column_stack([values, np.ones(len(values))]), np.arange(len(values)), row_limit)
    return replace(score, details=score.details | {"queries": len(values), "documents": len(retrieval.documents)})


# ---- adapted ---------------------------------------------------------------------------------------------------------


def adapted_ndcg(retrieval: SearchScores) -> Score:
    """Return the mean nDCG@10 of held-out queries after a ridge map from queries to their documents.

    The map is fitted on the queries of the other folds and shrunk to the identity. It does not use documents that are
    relevant to held-out queries. The strength of each fold is the best for held-out queries of the other folds. If
    several are equal, the strongest wins.

    Raises:
        EmmsError: The other folds have no queries, or no documents that are not relevant to held-out queries.
    """
    fold_of = assign_folds(retrieval.groups, retrieval.folds, retrieval.seed)
    filled = np.unique(fold_of)
    values = np.array([_mapped_ndcg(retrieval, mapped) for mapped in _held_out_maps(retrieval, fold_of, filled)])
    chosen = np.empty(len(fold_of))
    strengths = []
    for fold in filled:
        others = values[:, fold_of != fold].mean(axis=1)
        best = len(others) - 1 - int(np.argmax(others[::-1]))
        strengths.append(STRENGTHS[best])
        chosen[fold_of == fold] = values[best, fold_of == fold]
    score = mean_of_queries(chosen, retrieval)
    kept = sum(map(np.isinf, strengths))
    return replace(score, details=score.details | {"unchanged_folds": int(kept), "folds": len(filled)})


def _mapped_ndcg(retrieval: SearchScores, queries: np.ndarray) -> np.ndarray:
    mapped = replace(retrieval, queries=queries)
    return ndcg_of_queries(mapped.relevant, mapped.places, len(queries))


def _held_out_maps(retrieval: SearchScores, fold_of: np.ndarray, filled: np.ndarray) -> list[np.ndarray]:
    """Map the queries of each fold by a ridge fitted on the other folds: float32 (Q, D) per entry of `STRENGTHS`."""
    unit = _unit if retrieval.similarity == "cosine" else np.asarray
    queries, documents = unit(retrieval.queries).astype(np.float64), unit(retrieval.documents)
    query_of, document_of, _ = retrieval.relevant.T
    maps = np.repeat(queries[None], len(STRENGTHS), axis=0)
    for fold in filled:
        held_out = fold_of == fold
        is_shared = np.isin(document_of, document_of[held_out[query_of]])
        rest, targets = _mean_relevant(retrieval.relevant[~is_shared], documents)
        if not len(rest):
            raise EmmsError(
                "shared-documents",
                "every query shares its relevant documents with held-out queries, so no map can be fitted",
                "use more queries: " + setting_ref("max_samples", ...),
            )
        x, residual = queries[rest], targets - queries[rest]
        scale = max(float(np.mean(np.einsum("qd,qd->q", x, x))), np.finfo(np.float64).tiny)
        for number, change in enumerate(_ridge_changes(x, residual, queries[held_out], scale)):
            maps[number, held_out] += change
    return [queries_by_map.astype(np.float32) for queries_by_map in maps]


def _ridge_changes(x: np.ndarray, residual: np.ndarray, held_out: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    """Yield the changes of held-out queries per entry of `STRENGTHS`, by ridge regression of residuals (n, D) on x.

    All strengths share one decomposition of the smaller Gram matrix.
    """
    dual = len(x) < x.shape[1]
    values, vectors = eigh(x @ x.T if dual else x.T @ x)
    values = np.maximum(values, 0)
    left = held_out @ (x.T @ vectors if dual else vectors)
    right = vectors.T @ (residual if dual else x.T @ residual)
    for strength in STRENGTHS:
        yield (left / (values + strength * scale)) @ right if np.isfinite(strength) else np.zeros_like(held_out)


def _mean_relevant(relevant: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the n distinct queries of judgments, (n,), and the mean of their documents by grade, float64 (n, D)."""
    queries, query_of = np.unique(relevant[:, 0], return_inverse=True)
    grades = relevant[:, 2]
    means = np.zeros((len(queries), documents.shape[1]))
    np.add.at(means, query_of, documents[relevant[:, 1]] * (grades / np.bincount(query_of, grades)[query_of])[:, None])
    return queries, means
