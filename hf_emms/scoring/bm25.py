"""BM25: search by the words that queries and documents share. The baseline of searches, without a model."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from scipy import sparse

from hf_emms.scoring.reranking import CANDIDATES, reranked_mrr, reranked_ndcg
from hf_emms.scoring.retrieval import SearchScores, leave_out, mrr, recall, zero_shot_ndcg

# The estimators that need only the ranks of documents.
SCORES = {
    "zero_shot_ndcg": zero_shot_ndcg,
    "mrr": mrr,
    "recall": recall,
    "reranked_ndcg": reranked_ndcg,
    "reranked_mrr": reranked_mrr,
}

# Saturation and length normalization as in Lucene (Robertson and Zaragoza 2009; Kamphuis et al. 2020).
_K1, _B = 1.5, 0.75
# The English stop words of Lucene.
_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
_STOP_WORD_SET = frozenset(_STOP_WORDS.split())
# A word of at least two letters, or one character of Chinese and Japanese.
_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]{{2,}}")
# Scores per block: 64 MB.
_BLOCK_SCORES = 2**23


class Bm25Index:
    """A BM25 index of M documents."""

    def __init__(self, documents: Sequence[str]) -> None:
        self._numbers: dict[str, int] = {}
        counts = self._counts(documents, grow=True)
        lengths = counts.sum(axis=1)
        rates = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), np.finfo(np.float64).tiny))
        rows = np.repeat(np.arange(len(documents)), np.diff(counts.indptr))
        with_word = np.bincount(counts.indices, minlength=counts.shape[1])
        rarity = np.log1p((len(documents) - with_word + 0.5) / (with_word + 0.5))
        counts.data = rarity[counts.indices] * counts.data / (counts.data + rates[rows])
        self._weights = counts.T.tocsr()

    def scores(self, queries: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the scores of blocks of queries in their order, float64 (b, M)."""
        counts = self._counts(queries)
        size = math.ceil(_BLOCK_SCORES / max(1, self._weights.shape[1]))
        for start in range(0, len(queries), size):
            yield (counts[start : start + size] @ self._weights).toarray()

    def _counts(self, texts: Sequence[str], *, grow: bool = False) -> sparse.csr_array:
        """Count the words of each text, float64 (n, words). Skip unknown words unless the vocabulary may `grow`."""
        numbers, times, ends = array("q"), array("d"), array("q", [0])
        for text in texts:
            words = Counter(self._words(text, grow))
            numbers.extend(words)
            times.extend(words.values())
            ends.append(len(numbers))
        parts = np.asarray(times), np.asarray(numbers), np.asarray(ends)
        return sparse.csr_array(parts, shape=(len(texts), len(self._numbers)))

    def _words(self, text: str, grow: bool) -> Iterable[int]:
        words = (word for word in _WORD.findall(text.lower()) if word not in _STOP_WORD_SET)
        if grow:
            return (self._numbers.setdefault(word, len(self._numbers)) for word in words)
        return (self._numbers[word] for word in words if word in self._numbers)


def word_search(
    queries: Sequence[str], documents: Sequence[str], judgments: np.ndarray, groups: np.ndarray
) -> SearchScores:
    """Search by BM25. The result has ranks and no embeddings; for judgments and groups see `SearchScores`."""
    return SearchScores.placed(judgments, groups, len(documents), partial(_places, queries, documents, judgments))


def _places(
    queries: Sequence[str], documents: Sequence[str], judgments: np.ndarray, relevant: np.ndarray
) -> np.ndarray:
    places, start = np.empty(len(relevant)), 0
    for scores in Bm25Index(documents).scores(queries):
        pairs = slice(*np.searchsorted(relevant[:, 0], (start, start + len(scores))))
        leave_out(scores, judgments, start)
        of_pairs = scores[relevant[pairs, 0] - start]
        paired = of_pairs[np.arange(len(of_pairs)), relevant[pairs, 1]][:, None]
        # Documents with equal scores share a mean rank. A document is equal to itself.
        places[pairs] = (of_pairs > paired).sum(axis=1) + ((of_pairs == paired).sum(axis=1) + 1) / 2
        start += len(scores)
    return places


def first_documents(queries: Sequence[str], documents: Sequence[str], judgments: np.ndarray) -> np.ndarray:
    """Return the 100 best documents of each of n queries, int64 (n, 100), or all if there are fewer.

    Documents that a query does not search come last.
    """
    first, start = [], 0
    for scores in Bm25Index(documents).scores(queries):
        leave_out(scores, judgments, start)
        first.append(np.argsort(-scores, axis=1, kind="stable")[:, :CANDIDATES])
        start += len(scores)
    return np.concatenate(first)
