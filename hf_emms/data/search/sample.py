"""Make the sample of a search from drawn queries, the documents that they search, and relevance judgments."""

from __future__ import annotations

import json

import numpy as np

from hf_emms.data.sample import Sample, digest, pinned
from hf_emms.data.search.draw import DrawnSearch, SearchData, draw_search
from hf_emms.data.search.sentences import draw_sentences
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.inputs import SearchCollection
from hf_emms.options import SampleOptions
from hf_emms.ranking.reading import ColumnReading, Reading, shortened
from hf_emms.texts import setting_ref

# A group with a larger share of all queries is split, because every fold needs queries.
_LARGEST_GROUP = 0.2


def search_sample(data: SearchData, options: SampleOptions, *, training: bool) -> Sample:
    """Return the sample of a search; a row is a query with a relevant document, whose text is the label.

    `training` keeps the documents that were judged not to answer a drawn query.

    Raises:
        EmmsError: See `draw_search`; also if the corpus is a single document, or all queries are equal.
    """
    _check_options(data, options)
    has_queries = bool(data.task.inputs)
    drawn = draw_search(data, options, training=training) if has_queries else draw_sentences(data, options)
    _check_searchable(drawn)
    query_keys, document_keys = (np.array(list(texts), np.uint64) for texts in (drawn.queries, drawn.documents))
    judgments = np.column_stack(
        [
            np.searchsorted(query_keys, drawn.judgments["query"]),
            np.searchsorted(document_keys, drawn.judgments["document"]),
            drawn.judgments["grade"].astype(np.int64),
        ]
    ).astype(np.int64)
    collection = SearchCollection(list(drawn.queries.values()), list(drawn.documents.values()), judgments)
    relevant = judgments[judgments[:, 2] > 0]
    groups = _groups(relevant if has_queries else judgments, query_keys)
    labels = [collection.documents[document] for document in relevant[:, 1].tolist()]
    label_texts, codes = np.unique(np.array(labels, object), return_inverse=True)
    content = query_keys.tobytes() + document_keys.tobytes()
    opened = data.opened
    repo = pinned(opened.repo, content + judgments.tobytes())
    identity = [
        *(repo.revision, opened.config, opened.split, data.task.id, sorted(data.columns.items())),
        *(options.seed, options.max_samples, options.corpus_size, training),
    ]
    return Sample(
        dataset=opened.name,
        repo=repo,
        config=opened.config,
        split=opened.split,
        task=data.task,
        columns=dict(data.columns),
        inputs=collection,
        input_hashes=query_keys[:, None],
        input_of_row=relevant[:, 0],
        label_texts=tuple(label_texts.tolist()),
        codes=codes.astype(np.int64),
        groups=groups[relevant[:, 0]],
        skipped=drawn.skipped,
        notes=data.notes,
        fingerprint=digest(content + judgments.tobytes() + json.dumps(identity).encode()),
        inputs_fingerprint=digest(f"{len(query_keys)} ".encode() + content),
        available=len(codes) if len(drawn.queries) == drawn.total_queries else drawn.total_relevant,
        unused_columns=data.unused,
        splits=opened.splits,
        reading=_reading(data, drawn, collection, len(np.unique(groups))),
    )


def _check_options(data: SearchData, options: SampleOptions) -> None:
    if options.group_column is not None or options.references != "mean":
        raise EmmsError(
            "setting-without-effect",
            f"{data.task.id} uses all relevant documents, and groups queries that share one",
            "remove " + setting_ref("group_column") + " and " + setting_ref("references") + "",
        )


def _check_searchable(drawn: DrawnSearch) -> None:
    if len(drawn.queries) < 2:
        raise EmmsError(
            "few-queries",
            "all queries are equal" if drawn.queries else "no query has a relevant document",
            "a ranking requires several queries. Name their column: " + setting_ref("query_column", ...),
        )
    if len(drawn.documents) < 2:
        raise EmmsError(
            "few-documents",
            "the corpus is a single document",
            "a ranking requires several documents. Name their column: " + setting_ref("document_column", ...),
        )


def _groups(relevant: np.ndarray, query_keys: np.ndarray) -> np.ndarray:
    """Return the group of each query, uint64 (Q,). Queries with a common relevant document share a group.

    In a group with more than a fifth of all queries, each query is its own group. Training then leaves out the relevant
    documents of held-out queries.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(query_keys)
    documents, of_pair = np.unique(relevant[:, 1], return_inverse=True)
    edges = (np.ones(len(relevant), np.int8), (relevant[:, 0], count + of_pair))
    nodes = count + len(documents)
    _, component = connected_components(coo_array(edges, shape=(nodes, nodes)))
    groups = np.full(nodes, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(groups, component[:count], query_keys)
    is_large = np.bincount(component[:count]) > _LARGEST_GROUP * count
    return np.where(is_large[component[:count]], query_keys, groups[component[:count]])


def _facts(drawn: DrawnSearch, collection: SearchCollection, n_groups: int) -> list[str]:
    queries, documents = len(collection.queries), len(collection.documents)
    relevant = int((collection.judgments[:, 2] > 0).sum())
    facts = [
        f"{queries:,} of {pluralize(drawn.total_queries, 'query', 'queries')} with {relevant / queries:.3g} relevant "
        f"documents each, held out in {pluralize(n_groups, 'group')}",
        f"they search {documents:,} of {pluralize(drawn.total_documents, 'document')} "
        f"({documents / drawn.total_documents:.1%}); scores are lower on a larger corpus",
        f"{pluralize(len(collection.judgments), 'relevance judgment')}",
    ]
    themselves = collection.judgments[collection.judgments[:, 2] < 0]
    if len(themselves):
        facts.append(f"{len(np.unique(themselves[:, 0])):,} queries are documents, and do not search themselves")
    return facts


def _reading(data: SearchData, drawn: DrawnSearch, collection: SearchCollection, n_groups: int) -> Reading:
    facts = _facts(drawn, collection, n_groups) if data.task.inputs else ()
    examples = {data.task.label.name: collection.documents[0]}
    examples |= {column.name: collection.queries[0] for column in data.task.inputs}
    columns = [
        ColumnReading(role, column, shortened(examples[role]) if role in examples else "")
        for role, column in data.columns.items()
    ]
    return Reading(
        dataset=data.opened.name,
        split=data.opened.split,
        splits=data.opened.splits,
        examples=drawn.total_relevant if data.task.inputs else drawn.total_documents,
        task=data.task.id,
        columns=tuple(columns),
        facts=(*data.facts, *facts, *drawn.facts),
        unused=data.unused,
        skipped=drawn.skipped,
        reasons=tuple(drawn.reasons),
    )
