"""Add BM25, a search without a model, as a baseline of search rankings."""

from __future__ import annotations

import time
from typing import cast

import msgspec

from hf_emms.cache import Cache, Key, cache_key
from hf_emms.data import Sample
from hf_emms.inputs import SearchCollection
from hf_emms.options import ScoringOptions
from hf_emms.options.registry import versions
from hf_emms.ranking import Row, Seconds
from hf_emms.run.rows import groups_of_queries, plain_score
from hf_emms.scoring.bm25 import SCORES, word_search

NAME = "BM25 (no checkpoint)"
# Part of the key of its row. Increase it if the same sample produces another row.
BM25_VERSION = 3
# Seconds to index a character of a document, and to score a query and a document.
_SECONDS_PER_CHARACTER, _SECONDS_PER_PAIR = 9e-8, 1.5e-8


def bm25_row(sample: Sample, options: ScoringOptions, cache: Cache) -> Row | None:
    """Return the row of BM25 for a search, or None if no estimator can score ranks of documents."""
    names = _estimators(options)
    if not names:
        return None
    key = _key(sample, names)
    row: Row | None = cache.get_json(key, lambda stored: msgspec.convert(stored, Row))
    if row is None:
        row = _scored(sample, names)
        cache.put_json(key, msgspec.to_builtins(row))
    return row


def bm25_seconds(sample: Sample, options: ScoringOptions, cache: Cache) -> float:
    """Return about how many seconds `bm25_row` takes, by a rule of thumb; 0 if the cache has the row."""
    names = _estimators(options)
    if not names or cache.get_json(_key(sample, names), lambda stored: stored) is not None:
        return 0.0
    texts = cast(SearchCollection, sample.inputs)
    pairs = len(texts.queries) * len(texts.documents)
    return _SECONDS_PER_CHARACTER * sum(map(len, texts.documents)) + _SECONDS_PER_PAIR * pairs


def _estimators(options: ScoringOptions) -> list[str]:
    return [name for name in options.estimators if name in SCORES]


def _key(sample: Sample, names: list[str]) -> Key:
    return cache_key("rows", NAME, versions=versions(), code=BM25_VERSION, sample=sample.fingerprint, estimators=names)


def _scored(sample: Sample, names: list[str]) -> Row:
    started = time.perf_counter()
    texts = cast(SearchCollection, sample.inputs)
    search = word_search(texts.queries, texts.documents, texts.judgments, groups_of_queries(sample))
    scores = {name: plain_score(SCORES[name](search)) for name in names}
    return Row(
        NAME,
        scores=scores,
        architecture="none",
        pooling="BM25 over shared words",
        seconds=Seconds(0.0, round(time.perf_counter() - started, 3)),
    )
