"""Searches with relevance judgments: a row is a query, and its reference the judged documents with their grades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from hf_emms.heads.head import Head
from hf_emms.heads.metrics import SEARCH_METRICS, Metric, SearchResult
from hf_emms.heads.split import LabeledSample, LabeledSplit
from hf_emms.inputs import SearchCollection
from hf_emms.scoring.retrieval import ndcg_of_queries, recalls, reciprocal_ranks

# Documents that are searched after each epoch. The test searches all of them.
_VALIDATION_DOCUMENTS = 2_000


class JudgedSearch(Head):
    """The base class of heads that find the documents of queries."""

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return SEARCH_METRICS

    def label(self, sample: LabeledSample, *, several: bool) -> LabeledSplit:
        queries, first_rows = np.unique(sample.input_of_row, return_index=True)
        judged: dict[int, list[tuple[int, int]]] = {query: [] for query in queries.tolist()}
        for query, document, grade in collection_of(sample).judgments.tolist():
            if query in judged:
                judged[query].append((document, grade))
        references = [tuple(documents) for documents in judged.values()]
        return LabeledSplit.from_sample(sample, references, input_of_row=queries, groups=sample.groups[first_rows])

    def leave_out_shared(self, train: LabeledSplit, evaluated: Sequence[LabeledSplit]) -> LabeledSplit:
        """Leave out documents that are relevant to evaluated queries, and queries that lose all relevant documents."""
        held_out = {
            collection_of(split).documents[document]
            for split in evaluated
            for judged in split.references
            for document, grade in judged
            if grade > 0
        }
        documents = collection_of(train).documents
        references = [
            tuple((document, grade) for document, grade in judged if grade < 0 or documents[document] not in held_out)
            for judged in train.references
        ]
        kept = [row for row, judged in enumerate(references) if any(grade > 0 for _, grade in judged)]
        return replace(train, references=tuple(references)).take(np.array(kept, np.int64))

    def reduce_validation(self, validation: LabeledSplit) -> LabeledSplit:
        """Keep the judged documents of the queries, and other documents up to 2,000 from the start of the corpus."""
        collection = collection_of(validation)
        judged = {document for judgments in validation.references for document, grade in judgments if grade >= 0}
        others = (document for document in range(len(collection.documents)) if document not in judged)
        kept = sorted([*judged, *islice(others, max(0, _VALIDATION_DOCUMENTS - len(judged)))])
        new_number = {document: number for number, document in enumerate(kept)}
        documents = [collection.documents[document] for document in kept]
        judgments = [row for row in collection.judgments.tolist() if row[1] in new_number]
        renumbered = np.array([(query, new_number[document], grade) for query, document, grade in judgments])
        references = [
            tuple((new_number[document], grade) for document, grade in reference if document in new_number)
            for reference in validation.references
        ]
        smaller = SearchCollection(collection.queries, documents, renumbered)
        return replace(validation, inputs=smaller, references=tuple(references))

    def count_rows(self, split: LabeledSplit) -> int:
        """Return the number of pairs of a query and a relevant document."""
        return len(relevant_of(split))


def collection_of(rows: LabeledSample | LabeledSplit) -> SearchCollection:
    """Return the queries and documents of a sample or a split."""
    assert isinstance(rows.inputs, SearchCollection)
    return rows.inputs


def judgments_of(split: LabeledSplit) -> np.ndarray:
    """Return all judgments of a split, int64 (J, 3): row of the query, document and grade.

    A negative grade excludes a document from the search of the query.
    """
    judgments = [(row, *judgment) for row, judged in enumerate(split.references) for judgment in judged]
    return np.array(judgments, np.int64).reshape(-1, 3)


def relevant_of(split: LabeledSplit) -> np.ndarray:
    """Return the relevant documents of each query, int64 (R, 3): row, document and grade."""
    judgments = judgments_of(split)
    relevant = judgments[judgments[:, 2] > 0]
    return relevant[np.lexsort((relevant[:, 1], -relevant[:, 2], relevant[:, 0]))]


def search_results(relevant: np.ndarray, ranks: np.ndarray, count: int) -> list[SearchResult]:
    """Return the scores of `count` queries from their `relevant_of` and the rank of each, float64 (R,), from 1."""
    scores = [score(relevant, ranks, count) for score in (ndcg_of_queries, reciprocal_ranks, recalls)]
    return [SearchResult(*map(float, values)) for values in zip(*scores, strict=True)]
