"""BM25, a search by the words that queries and documents share: without a model, and what a model has to beat."""

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

# The estimators that see places of documents alone, by name.
SCORES = {
    "zero_shot_ndcg": zero_shot_ndcg,
    "mrr": mrr,
    "recall": recall,
    "reranked_ndcg": reranked_ndcg,
    "reranked_mrr": reranked_mrr,
}

# As Lucene has them (Robertson and Zaragoza 2009; Kamphuis et al. 2020): saturation, and the share of the length.
_K1, _B = 1.5, 0.75
# Words without a meaning of their own, those of Lucene for English.
_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
_STOP_WORD_SET = frozenset(_STOP_WORDS.split())
# A character of a writing without spaces, or a word of two letters or more.
_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]{{2,}}")
# Scores of a block are at most this many: 32 MB.
_BLOCK_SCORES = 2**23


class Bm25Index:
    """The weights of words in M documents."""

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
        """Yield the scores of some queries after others, float64 (b, M), in their order."""
        counts = self._counts(queries)
        size = math.ceil(_BLOCK_SCORES / max(1, self._weights.shape[1]))
        for start in range(0, len(queries), size):
            yield (counts[start : start + size] @ self._weights).toarray()

    def _counts(self, texts: Sequence[str], *, grow: bool = False) -> sparse.csr_array:
        """Return how often each text has each word, float64 (n, words); new words are left out unless they `grow`."""
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
    queries: Sequence[str], documents: Sequence[str], judgements: np.ndarray, groups: np.ndarray
) -> SearchScores:
    """Return a search by BM25, which has places and no embeddings; for the judgements and groups see `Retrieval`."""
    return SearchScores.placed(judgements, groups, len(documents), partial(_places, queries, documents, judgements))


def _places(
    queries: Sequence[str], documents: Sequence[str], judgements: np.ndarray, relevant: np.ndarray
) -> np.ndarray:
    places, start = np.empty(len(relevant)), 0
    for scores in Bm25Index(documents).scores(queries):
        pairs = slice(*np.searchsorted(relevant[:, 0], (start, start + len(scores))))
        leave_out(scores, judgements, start)
        of_pairs = scores[relevant[pairs, 0] - start]
        paired = of_pairs[np.arange(len(of_pairs)), relevant[pairs, 1]][:, None]
        # Documents with equal scores share their places; a document is equal to itself.
        places[pairs] = (of_pairs > paired).sum(axis=1) + ((of_pairs == paired).sum(axis=1) + 1) / 2
        start += len(scores)
    return places


def first_documents(queries: Sequence[str], documents: Sequence[str], judgements: np.ndarray) -> np.ndarray:
    """Return the first documents for each of n queries, int64 (n, 100); fewer where there are not as many.

    Those that are left out for a query are behind all others.
    """
    first, start = [], 0
    for scores in Bm25Index(documents).scores(queries):
        leave_out(scores, judgements, start)
        first.append(np.argsort(-scores, axis=1, kind="stable")[:, :CANDIDATES])
        start += len(scores)
    return np.concatenate(first)
