"""The sample of a search, made of drawn queries, the documents that they search, and judgements."""

from __future__ import annotations

import json

import numpy as np

from hf_emms.data.sample import Sample, digest, pinned
from hf_emms.data.search.draw import DrawnSearch, SearchData, draw_search
from hf_emms.errors import EmmsError, pluralize, setting_ref
from hf_emms.inputs import SearchCollection
from hf_emms.options import SampleOptions

# With fewer queries, a note says how uncertain nDCG@10 is; the standard error of a single query, in points.
_FEW_QUERIES, _QUERY_STDERR = 50, 32


def search_sample(data: SearchData, options: SampleOptions, *, training: bool) -> Sample:
    """Return the sample of a search; a row is a query with a relevant document, whose text is the label.

    `training` keeps the documents that were judged not to answer a drawn query.

    Raises:
        EmmsError: see `draw_search`; also where the corpus is a single document, or all queries are equal.
    """
    _check_options(data, options)
    drawn = draw_search(data, options, training=training)
    _check_searchable(drawn)
    query_keys, document_keys = (np.array(list(texts), np.uint64) for texts in (drawn.queries, drawn.documents))
    judgements = np.column_stack(
        [
            np.searchsorted(query_keys, drawn.judgements["query"]),
            np.searchsorted(document_keys, drawn.judgements["document"]),
            drawn.judgements["grade"].astype(np.int64),
        ]
    ).astype(np.int64)
    collection = SearchCollection(list(drawn.queries.values()), list(drawn.documents.values()), judgements)
    relevant = judgements[judgements[:, 2] > 0]
    groups = _groups(relevant, query_keys)
    label_texts = tuple(sorted({collection.documents[document] for document in relevant[:, 1].tolist()}))
    number_of = {text: number for number, text in enumerate(label_texts)}
    codes = np.array([number_of[collection.documents[document]] for document in relevant[:, 1].tolist()], np.int64)
    content = query_keys.tobytes() + document_keys.tobytes()
    opened = data.opened
    repo = pinned(opened.repo, content + judgements.tobytes())
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
        input_of_row=relevant[:, 0],
        label_texts=label_texts,
        codes=codes,
        groups=groups[relevant[:, 0]],
        skipped=data.skipped,
        total_rows=drawn.total_relevant,
        notes=(*data.notes, *drawn.notes, *_notes(data, drawn, relevant, len(np.unique(groups)))),
        fingerprint=digest(content + judgements.tobytes() + json.dumps(identity).encode()),
        inputs_fingerprint=digest(f"{len(query_keys)} ".encode() + content),
        available=len(codes) if len(drawn.queries) == drawn.total_queries else drawn.total_relevant,
        unused_columns=data.unused,
        splits=opened.splits,
    )


def _check_options(data: SearchData, options: SampleOptions) -> None:
    if options.group_column is not None:
        raise EmmsError(
            f"the groups of {data.task.id} are queries that share a relevant document: "
            + setting_ref("group_column", options.group_column)
            + " is for other tasks",
            "leave it out",
        )
    if options.references != "mean":
        raise EmmsError(
            f"all relevant documents count: {setting_ref('references', options.references)} is for other tasks",
            "leave it out",
        )


def _check_searchable(drawn: DrawnSearch) -> None:
    if len(drawn.queries) < 2:
        raise EmmsError(
            "every query is the same" if drawn.queries else "no query has a relevant document",
            "a ranking needs several queries; name the column of queries: " + setting_ref("query_column", ...),
        )
    if len(drawn.documents) < 2:
        raise EmmsError(
            "the corpus has a single document, which every query finds", "a ranking needs several; name their column"
        )


def _groups(relevant: np.ndarray, query_keys: np.ndarray) -> np.ndarray:
    """Return the group of each query, uint64 (Q,): queries that share a relevant document have the smallest key."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(query_keys)
    documents, of_pair = np.unique(relevant[:, 1], return_inverse=True)
    edges = (np.ones(len(relevant), np.int8), (relevant[:, 0], count + of_pair))
    nodes = count + len(documents)
    _, component = connected_components(coo_array(edges, shape=(nodes, nodes)))
    groups = np.full(nodes, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(groups, component[:count], query_keys)
    return groups[component[:count]]


def _notes(data: SearchData, drawn: DrawnSearch, relevant: np.ndarray, n_groups: int) -> list[str]:
    queries, documents = len(drawn.queries), len(drawn.documents)
    each = len(relevant) / queries
    of_all = f" of {drawn.total_queries:,}" if queries < drawn.total_queries else ""
    notes = [
        f"{queries:,}{of_all} queries with {each:.3g} relevant {'document' if each == 1 else 'documents'} each; "
        f"queries that share one are a group: {n_groups:,} groups"
    ]
    if documents < drawn.total_documents:
        share = documents / drawn.total_documents
        notes.append(
            f"they search {documents:,} of {drawn.total_documents:,} documents ({share:.1%}): nDCG over all of them is "
            f"lower; {setting_ref('corpus_size')} takes more"
        )
    else:
        notes.append(f"they search all {documents:,} documents of the corpus: a larger corpus is harder")
    themselves = drawn.judgements[drawn.judgements["grade"] < 0]
    if len(themselves):
        count = len(np.unique(themselves["query"]))
        notes.append(f"queries that are documents by their ids, which do not search themselves: {count:,}")
    unsearched = set(themselves[["query", "document"]].tolist())
    copies = sum((key, key) not in unsearched for key in drawn.queries.keys() & drawn.documents.keys())
    if copies:
        notes.append(f"queries that are documents of the corpus, and find themselves first: {copies:,}")
    if queries < _FEW_QUERIES:
        points = _QUERY_STDERR / np.sqrt(queries)
        notes.append(
            f"{queries} queries give nDCG@10 a standard error of about {points:.0f} points: {_FEW_QUERIES} or more are "
            "needed"
        )
    if data.skipped:
        more = "; …" if data.skipped > len(data.reasons) else ""
        notes.append(f"{pluralize(data.skipped, 'row')} left out ({'; '.join(data.reasons)}{more})")
    return notes
