"""Queries with the documents that answer them: every layout becomes the same collection."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest

from hf_emms.inputs import SearchCollection
from tests.helpers.samples import load_sample

N = 60


def queries(count: int = N) -> list[str]:
    return [f"who wrote book {number}" for number in range(count)]


def documents(count: int = N) -> list[str]:
    return [f"book {number} was written by someone" for number in range(count)]


def judged(sample: Any) -> dict[tuple[str, str], int]:
    """The texts of a query and a document → the grade."""
    search = sample.inputs
    assert isinstance(search, SearchCollection)
    return {(search.queries[query], search.documents[document]): grade for query, document, grade in search.judgements}


PAIRS = dict.fromkeys(zip(queries(), documents(), strict=True), 1)


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("anchor", "positive"),
        ("query", "positive"),
        ("query", "pos"),
        ("query", "passage"),
        ("Query", "Document"),
    ],
)
def test_a_query_and_the_passage_that_answers_it_are_read_as_a_search(query: str, document: str) -> None:
    sample = load_sample(datasets.Dataset.from_dict({query: queries(), document: documents()}))
    assert (sample.task.id, sample.columns) == ("text-retrieval", {"query": query, "document": document})
    assert judged(sample) == PAIRS
    assert (len(sample), len(sample.inputs), len(set(sample.groups.tolist()))) == (N, 2 * N, N)
    assert [sample.inputs[number] for number in sample.input_of_row.tolist()] == list(sample.inputs.queries)
    assert {
        (sample.inputs[input], sample.label_texts[code])
        for input, code in zip(sample.input_of_row.tolist(), sample.codes.tolist(), strict=True)
    } == set(PAIRS)
    assert any('"text-pair-classification"' in note for note in sample.notes)


def test_queries_that_share_a_document_are_a_group_and_its_copy_is_no_negative() -> None:
    passages = [f"passage {number // 3}" for number in range(N)]
    sample = load_sample(datasets.Dataset.from_dict({"query": queries(), "passage": passages}))
    assert len(sample.inputs.documents) == N // 3
    by_document: dict[str, set[int]] = {}
    for group, code in zip(sample.groups.tolist(), sample.codes.tolist(), strict=True):
        by_document.setdefault(sample.label_texts[code], set()).add(group)
    assert sorted(map(len, by_document.values())) == [1] * (N // 3)
    assert len(set(sample.groups.tolist())) == N // 3


def test_the_sample_counts_queries_and_holds_their_documents_and_others_up_to_the_size_of_the_corpus() -> None:
    rows = datasets.Dataset.from_dict({"query": queries(), "passage": documents()})
    sample = load_sample(rows, max_samples=10, corpus_size=25)
    assert (len(sample.inputs.queries), len(sample.inputs.documents), len(sample)) == (10, 25, 10)
    assert judged(sample).items() <= PAIRS.items()
    assert any("they search 25 of 60 documents (41.7%)" in note for note in sample.notes)
    backwards = load_sample(rows.select(range(N - 1, -1, -1)), max_samples=10, corpus_size=25)
    assert backwards.fingerprint == sample.fingerprint
    assert np.array_equal(backwards.inputs.judgements, sample.inputs.judgements)
    other = load_sample(rows, max_samples=10, corpus_size=25, seed=1)
    assert set(other.inputs.queries) != set(sample.inputs.queries)
    assert len(load_sample(rows, max_samples=10, corpus_size=None).inputs.documents) == N
    assert len(load_sample(rows, corpus_size=2).inputs.documents) == N, "what answers a query is always there"
