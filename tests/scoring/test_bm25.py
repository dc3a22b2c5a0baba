"""BM25 as Lucene has it: the same scores as an index of another package, and places without a tie broken by chance."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest

from hf_emms.scoring import bm25
from hf_emms.scoring.bm25 import Bm25Index, word_search
from hf_emms.scoring.retrieval import zero_shot_ndcg

SENTENCE = "river harbour boat storm mountain road child apple red small telescope the and of"


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(SENTENCE.split(), rng.integers(1, 12))) + "." for _ in range(count)]


def test_scores_are_those_of_another_package() -> None:
    documents, queries = texts(80, 0), texts(15, 1)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(bm25s.tokenize(documents, stopwords="en", show_progress=False), show_progress=False)
    split = bm25s.tokenize(queries, stopwords="en", return_ids=False, show_progress=False)
    expected = [index.get_scores(words) if words else np.zeros(len(documents)) for words in split]
    np.testing.assert_allclose(np.concatenate([*Bm25Index(documents).scores(queries)]), expected, atol=1e-5)


def test_places_are_those_of_all_scores_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    documents, queries = texts(60, 2), texts(20, 3)
    judgments = np.array(
        [(query, (7 * query + shift) % 60, grade) for query in range(20) for shift, grade in ((0, 1), (5, 2), (9, -1))]
    )
    scores = np.concatenate([*Bm25Index(documents).scores(queries)])
    unsearched = judgments[:, 2] < 0
    scores[tuple(judgments[unsearched, :2].T)] = -np.inf
    expected = {
        (query, document): np.mean(np.flatnonzero(np.sort(scores[query])[::-1] == scores[query, document]) + 1)
        for query, document, _ in judgments[~unsearched].tolist()
    }
    monkeypatch.setattr(bm25, "_BLOCK_SCORES", 3 * 60)
    search = word_search(queries, documents, judgments, np.arange(20, dtype=np.uint64))
    by_pair = dict(zip(map(tuple, search.relevant[:, :2].tolist()), search.places.tolist(), strict=True))
    assert by_pair == pytest.approx(expected)


def test_a_query_without_a_known_word_finds_nothing() -> None:
    search = word_search(["xyz", "a the"], ["apple pie", "pear"], np.array([[0, 0, 1], [1, 1, 1]]), np.arange(2))
    np.testing.assert_array_equal(search.places, [1.5, 1.5])
    assert search.queries.shape == search.documents.shape == (2, 0)


def test_characters_of_writings_without_spaces_are_words() -> None:
    search = word_search(["山の天気"], ["山は高い", "海は広い"], np.array([[0, 0, 1]]), np.arange(1, dtype=np.uint64))
    assert zero_shot_ndcg(search).value == 1
