"""The draw of the queries and the corpus of a search, by their content: the order of files does not matter.

The corpus is read once and may be larger than memory: only the texts that are drawn are kept.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.rows import ALLOWED, MAX_SKIPPED, too_many
from hf_emms.errors import EmmsError, Note, joined, pluralize, setting_ref
from hf_emms.inputs import as_bytes, hash64
from hf_emms.options import SampleOptions
from hf_emms.tasks import Task, use_column

# Grades that are fractions become whole numbers from 0 to this.
MAX_GRADE = 10
# The grade of a document that is the query itself, which does not search it.
_ITSELF = -1.0
_JUDGEMENT = np.dtype([("query", np.uint64), ("document", np.uint64), ("grade", np.float64)])


def text_key(text: str) -> int:
    """Return the 64-bit key of a text."""
    return hash64(as_bytes(text))


class SearchData(Protocol):
    """The queries, documents and judgements of a dataset, which can be read several times.

    Keys are 64-bit hashes: of ids, or of texts where texts are their own ids. The same document may come several times.

    Attributes:
        opened: the split, whose rows are not read here.
        texts_are_ids: whether the same text naturally comes many times, and ids say nothing.
        columns: the task's column → the dataset's.
        skipped: rows of judgements that could not be read, once they were read; of `n_rows`, with the first `reasons`.
    """

    opened: OpenSplit
    texts_are_ids: bool
    skipped: int
    n_rows: int
    reasons: list[str]

    @property
    def task(self) -> Task: ...

    @property
    def columns(self) -> Mapping[str, str]: ...

    @property
    def unused(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[Note | str, ...]: ...

    def judgements(self) -> Iterator[tuple[int, int, float]]:
        """Yield the keys of a query and of a document, and the grade of its relevance."""
        ...

    def queries(self) -> Iterator[tuple[int, str]]:
        """Yield keys and texts; a text may be empty."""
        ...

    def documents(self) -> Iterator[tuple[int, str]]:
        """Yield keys and texts; a text may be empty."""
        ...


@dataclass
class DrawnSearch:
    """The queries and the corpus of a sample, by the keys of their texts.

    Attributes:
        queries, documents: key → text.
        judgements: of fields "query", "document" and "grade", each pair once; the grade is -1 where the document is the
            query itself, by its id, and was not judged to be relevant.
        total_queries: distinct texts of queries with a relevant document in the dataset.
        total_documents: distinct texts of documents in the dataset.
        total_relevant: pairs of a query and a relevant document in the dataset.
    """

    queries: dict[int, str]
    documents: dict[int, str]
    judgements: np.ndarray
    total_queries: int
    total_documents: int
    total_relevant: int
    notes: list[str] = field(default_factory=list)


def draw_search(data: SearchData, options: SampleOptions, *, training: bool) -> DrawnSearch:
    """Return drawn queries with the documents that answer them, and others up to the size of the corpus.

    In training, the documents that were judged not to answer a drawn query are all among them; otherwise they come
    before other documents.

    Raises:
        EmmsError: more than 5 % of rows, ids or texts cannot be used, or nothing is left to search.
    """
    judgements = np.fromiter(data.judgements(), _JUDGEMENT)
    _check_rows(data)
    notes = _with_whole_grades(judgements)
    relevant = judgements[judgements["grade"] > 0]
    total_relevant = len(relevant)
    queries, total_queries = _draw_queries(data, judgements, options, notes)
    judgements = judgements[np.isin(judgements["query"], np.array(list(queries), np.uint64))]
    documents, texts, themselves, total_documents = _draw_documents(
        data, queries, judgements, options, notes, training=training
    )
    judgements = judgements[np.isin(judgements["document"], np.array(list(documents), np.uint64))]
    judgements["query"] = [text_key(queries[key]) for key in judgements["query"].tolist()]
    judgements["document"] = [documents[key] for key in judgements["document"].tolist()]
    pairs = ((text_key(queries[key]), content, _ITSELF) for key, content in themselves.items() if content in texts)
    judgements = _distinct(np.concatenate([judgements, np.fromiter(pairs, _JUDGEMENT)]))
    answered = np.unique(judgements["query"][judgements["grade"] > 0])
    judgements = judgements[np.isin(judgements["query"], answered)]
    by_text = {text_key(text): text for text in queries.values()}
    lost = len(by_text) - len(answered)
    if lost:
        notes.append(f"{pluralize(lost, 'query', 'queries')} left out whose relevant documents are not in the corpus")
    return DrawnSearch(
        {key: by_text[key] for key in answered.tolist()},
        dict(sorted(texts.items())),
        judgements,
        total_queries,
        total_documents,
        total_relevant,
        notes,
    )


def _check_rows(data: SearchData) -> None:
    if not data.n_rows:
        raise EmmsError("the split has no rows", "name another: " + setting_ref("split", ...))
    if too_many(data.skipped, data.n_rows):
        raise EmmsError(
            f"{data.skipped} of {pluralize(data.n_rows, 'row')} could not be read, and {ALLOWED}; the first: "
            f"{data.reasons[0]}",
            "repair the data, or name other columns: " + joined(map(use_column, data.task.columns)),
        )


def _with_whole_grades(judgements: np.ndarray) -> list[str]:
    """Make grades whole numbers from 0 on, in place; returns notes."""
    grades = np.maximum(np.nan_to_num(judgements["grade"]), 0.0)
    highest = float(grades.max(initial=0.0))
    if highest <= 0:
        raise EmmsError(
            f"no document is relevant to a query: none of {pluralize(len(judgements), 'judgement')} is above 0",
            "name the column of grades: " + use_column("relevance"),
        )
    are_whole = np.array_equal(grades, np.round(grades))
    judgements["grade"] = grades if are_whole else np.round(grades * (MAX_GRADE / highest))
    return [] if are_whole else [f"relevance up to {highest:g} is read as grades from 0 to {MAX_GRADE}"]


def _draw_queries(
    data: SearchData, judgements: np.ndarray, options: SampleOptions, notes: list[str]
) -> tuple[dict[int, str], int]:
    """Return the drawn queries with a relevant document, the dataset's key → text, and among how many they were drawn.

    Queries of equal text are drawn together, and count once.
    """
    answered = set(judgements["query"][judgements["grade"] > 0].tolist())
    judged = set(judgements["query"].tolist())
    present: dict[int, int] = {}
    empty = 0
    for key, text in data.queries():
        if key in judged:
            empty += not text
            if text:
                present[key] = text_key(text)
    _check_present("query", judgements["query"], present, empty, notes)
    unanswered = len(present.keys() - answered)
    if unanswered:
        notes.append(f"{pluralize(unanswered, 'query', 'queries')} left out that no document is relevant to")
    content_of = {key: content for key, content in present.items() if key in answered}
    gather_batches = _in_drawing_order(np.unique(np.array(list(content_of.values()), np.uint64)), options.seed)
    chosen = set(gather_batches[: options.max_samples].tolist())
    drawn = {key for key, content in content_of.items() if content in chosen}
    return {key: text for key, text in data.queries() if key in drawn}, len(gather_batches)


def _draw_documents(
    data: SearchData,
    queries: Mapping[int, str],
    judgements: np.ndarray,
    options: SampleOptions,
    notes: list[str],
    *,
    training: bool,
) -> tuple[dict[int, int], dict[int, str], dict[int, int], int]:
    """Return the corpus of a sample, the documents that are queries, and how many distinct documents the dataset has.

    The corpus is the dataset's key of judged documents → the key of the text, and the key of the text → the text.
    Documents that are queries are the dataset's key of both → the key of the text: those with the id of a query. Where
    most of them do not hold its text there are none, since ids are then the numbers of rows.
    """
    is_required = judgements["grade"] >= (0 if training else 1)
    required, judged = set(judgements["document"][is_required].tolist()), set(judgements["document"].tolist())
    present: dict[int, int] = {}
    texts: dict[int, str] = {}
    themselves: dict[int, int] = {}
    holds_query: dict[int, bool] = {}
    others = _SmallestTexts(options)
    contents = array("Q")
    n_read = empty = 0
    for key, text in data.documents():
        n_read += 1
        if not text:
            empty += 1
            continue
        content = text_key(text)
        contents.append(content)
        if key in judged:
            present[key] = content
        if key in queries and not data.texts_are_ids:
            themselves[key] = content
            holds_query[key] = " ".join(queries[key].split()) in " ".join(text.split())
        if key in required:
            texts[content] = text
        else:
            others.add(content, text, first=key in judged)
    if too_many(empty, n_read):
        raise EmmsError(f"{empty:,} of {pluralize(n_read, 'document')} are empty, and {ALLOWED}", "repair the corpus")
    if empty:
        notes.append(f"{pluralize(empty, 'empty document')} left out")
    _check_present("document", judgements["document"], present, 0, notes)
    total = len(np.unique(np.frombuffer(contents, np.uint64)))
    if total < len(contents) and not data.texts_are_ids:
        notes.append(f"documents of equal text are one: {total:,} of {len(contents):,} differ")
    for content, text in others:
        if options.corpus_size is not None and len(texts) >= options.corpus_size:
            break
        texts.setdefault(content, text)
    if 2 * sum(holds_query.values()) <= len(holds_query):
        themselves = {}
    return {key: content for key, content in present.items() if content in texts}, texts, themselves, total


class _SmallestTexts:
    """The texts that are drawn first, up to the size of the corpus; iteration is in the order of drawing."""

    def __init__(self, options: SampleOptions) -> None:
        self._size, self._salt = options.corpus_size, text_key(str(options.seed))
        self._heap: list[tuple[tuple[bool, int], int, str]] = []
        self._held: set[tuple[bool, int]] = set()

    def add(self, content: int, text: str, *, first: bool) -> None:
        """Add a text by its key; those that come `first` are drawn before all others."""
        # The heap's first item is drawn last, and goes where there are too many.
        place = (first, -(content ^ self._salt))
        if place in self._held:
            return
        self._held.add(place)
        entry = (place, content, text)
        if len(self._heap) == self._size:
            last, *_ = heapq.heappushpop(self._heap, entry)
            self._held.remove(last)
        else:
            heapq.heappush(self._heap, entry)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((content, text) for _, content, text in sorted(self._heap, reverse=True))


def _in_drawing_order(contents: np.ndarray, seed: int) -> np.ndarray:
    """Return keys of texts, uint64 (N,), in an order that depends on the seed."""
    return contents[np.argsort(contents ^ np.uint64(text_key(str(seed))), kind="stable")]


def _check_present(noun: str, judged: np.ndarray, present: Mapping[int, int], empty: int, notes: list[str]) -> None:
    """Note the judgements of ids that are absent or have no text; an `EmmsError` where they are more than 5 %."""
    absent = int((~np.isin(judged, np.array(list(present), np.uint64))).sum())
    if not absent:
        return
    of_empty = f" ({empty:,} have no text)" if empty else ""
    if absent > MAX_SKIPPED * len(judged):
        raise EmmsError(
            f"{absent:,} of {pluralize(len(judged), 'judgement')} name a {noun} that is not there{of_empty}, and "
            f"{MAX_SKIPPED:.0%} may",
            "judgements, queries and documents must be of one dataset and use the same ids",
        )
    notes.append(f"{pluralize(absent, 'judgement')} left out: the {noun} is not there{of_empty}")


def _distinct(judgements: np.ndarray) -> np.ndarray:
    """Return each pair of a query and a document once, with its highest grade, in the order of their keys.

    A document that is the query itself is not searched, unless it was judged to be relevant.
    """
    ranks = np.where(judgements["grade"] == _ITSELF, 0.5, judgements["grade"])
    judgements = judgements[np.lexsort((ranks, judgements["document"], judgements["query"]))]
    pairs = judgements[["query", "document"]]
    return judgements[np.append(pairs[1:] != pairs[:-1], True)] if len(judgements) else judgements
