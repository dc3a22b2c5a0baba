"""Draw the queries and the corpus of a search by their content: the order of files does not matter.

The corpus is read once and may be larger than memory: only the drawn texts are kept.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.rows import ALLOWED, FEW_SKIPPED, MAX_SKIPPED, too_many
from hf_emms.errors import EmmsError, Note
from hf_emms.formatting import pluralize
from hf_emms.inputs import UnusableError, as_bytes, hash64
from hf_emms.options import SampleOptions
from hf_emms.tasks import Task, use_column
from hf_emms.texts import joined, setting_ref

# Grades that are fractions become integers from 0 to this.
MAX_GRADE = 10
# The grade of a document that is the query itself, which does not search it.
_ITSELF = -1.0
JUDGMENT = np.dtype([("query", np.uint64), ("document", np.uint64), ("grade", np.float64)])
# The keys of a query and of a document, and the grade of relevance.
Judgment = tuple[int, int, float]
Texts = Callable[[], Iterator[tuple[int, str]]]


def text_key(text: str) -> int:
    """Return the 64-bit key of a text."""
    return hash64(as_bytes(text))


@dataclass(frozen=True)
class SearchData:
    """The queries, documents and relevance judgments of a dataset, which can be read several times.

    Keys are 64-bit hashes of ids, or of texts if texts are their own ids. A document may occur several times.

    Attributes:
        opened: The split of the judgments.
        columns: Role → the dataset's columns.
        read_judgments: Yields the judgments of each row, or the error if the row cannot be read.
        read_queries, read_documents: Yield keys and texts; a text may be empty.
        source: The location of the judgments' rows, for messages: " of qrels/test.tsv".
        facts: The origin of the data, for users.
    """

    opened: OpenSplit
    task: Task
    columns: Mapping[str, str]
    read_judgments: Callable[[], Iterable[list[Judgment] | UnusableError]]
    read_queries: Texts
    read_documents: Texts
    texts_are_ids: bool
    source: str = ""
    facts: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass
class DrawnSearch:
    """The drawn queries and documents of a sample. The key of a text is its hash.

    Attributes:
        queries, documents: Key → text.
        judgments: Fields "query", "document" and "grade", each pair once. The grade is -1 if the document has the id
            of the query and is not judged to be relevant.
        total_queries: Number of distinct queries with a relevant document in the dataset.
        total_documents: Number of distinct documents in the dataset.
        total_relevant: Number of pairs of a query and a relevant document in the dataset.
        skipped: Number of rows of judgments that could not be read; `reasons` are the first ones.
        facts: What was left out or changed.
    """

    queries: dict[int, str] = field(default_factory=dict)
    documents: dict[int, str] = field(default_factory=dict)
    judgments: np.ndarray = field(default_factory=lambda: np.zeros(0, JUDGMENT))
    total_queries: int = 0
    total_documents: int = 0
    total_relevant: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def leave_out(self, count: int, noun: str, reason: str, plural: str | None = None) -> None:
        if count:
            self.facts.append(f"left out {pluralize(count, noun, plural)}: {reason}")


def draw_search(data: SearchData, options: SampleOptions, *, training: bool) -> DrawnSearch:
    """Draw queries with the documents that answer them, and other documents up to the size of the corpus.

    In training, all documents that were judged not to answer a drawn query are among them. Otherwise they come before
    other documents.

    Raises:
        EmmsError: More than 5 % of the rows, ids or texts cannot be used, or no document is relevant.
    """
    drawn = DrawnSearch()
    judgments = read_judgments(data, drawn)
    drawn.total_relevant = int((judgments["grade"] > 0).sum())
    queries = _draw_queries(data, judgments, options, drawn)
    judgments = judgments[np.isin(judgments["query"], np.array(list(queries), np.uint64))]
    contents, themselves = _draw_documents(data, queries, judgments, options, drawn, training=training)
    judgments = judgments[np.isin(judgments["document"], np.array(list(contents), np.uint64))]
    judgments["query"] = [text_key(queries[key]) for key in judgments["query"].tolist()]
    judgments["document"] = [contents[key] for key in judgments["document"].tolist()]
    pairs = [(text_key(queries[key]), text, _ITSELF) for key, text in themselves.items() if text in drawn.documents]
    judgments = distinct_judgments(np.concatenate([judgments, np.array(pairs, JUDGMENT)]))
    answered = np.unique(judgments["query"][judgments["grade"] > 0])
    drawn.judgments = judgments[np.isin(judgments["query"], answered)]
    by_text = {text_key(text): text for text in queries.values()}
    lost = len(by_text) - len(answered)
    drawn.leave_out(lost, "query", "its relevant documents are not in the corpus", "queries")
    drawn.queries = {key: by_text[key] for key in answered.tolist()}
    return drawn


def read_judgments(data: SearchData, drawn: DrawnSearch) -> np.ndarray:
    """Return the judgments that can be read, with integer grades. Count the other rows."""
    n_rows = 0

    def readable() -> Iterator[Judgment]:
        nonlocal n_rows
        for row in data.read_judgments():
            n_rows += 1
            if not isinstance(row, UnusableError):
                yield from row
                continue
            drawn.skipped += 1
            if len(drawn.reasons) < FEW_SKIPPED:
                drawn.reasons.append(f"row {n_rows:,}{data.source}: {row}")

    judgments = np.fromiter(readable(), JUDGMENT)
    if not n_rows:
        raise EmmsError("no-rows", "the split has no rows", "choose another: " + setting_ref("split", ...))
    if too_many(drawn.skipped, n_rows):
        raise EmmsError(
            "rows-unusable",
            f"{drawn.skipped} of {pluralize(n_rows, 'row')} cannot be read, but {ALLOWED}. First: {drawn.reasons[0]}",
            "correct the data, or name other columns: " + joined(map(use_column, data.task.columns)),
        )
    grades = np.maximum(np.nan_to_num(judgments["grade"]), 0.0)
    highest = float(grades.max(initial=0.0))
    if highest <= 0:
        raise EmmsError(
            "no-relevant-document",
            f"no document is relevant to a query: none of {pluralize(len(judgments), 'judgment')} is above 0",
            "name the column of grades: " + use_column("relevance"),
        )
    if not np.array_equal(grades, np.round(grades)):
        grades = np.round(grades * (MAX_GRADE / highest))
        drawn.facts.append(f"relevance up to {highest:g} is read as grades from 0 to {MAX_GRADE}")
    judgments["grade"] = grades
    return judgments


def _draw_queries(
    data: SearchData, judgments: np.ndarray, options: SampleOptions, drawn: DrawnSearch
) -> dict[int, str]:
    """Return the drawn queries with a relevant document, as key → text; queries of equal text count once."""
    answered = set(judgments["query"][judgments["grade"] > 0].tolist())
    judged = set(judgments["query"].tolist())
    present = {key: text_key(text) for key, text in data.read_queries() if key in judged and text}
    _check_present("query", judgments["query"], present, drawn)
    drawn.leave_out(len(present.keys() - answered), "query", "no document is relevant to it", "queries")
    content_of = {key: content for key, content in present.items() if key in answered}
    contents = np.unique(np.array(list(content_of.values()), np.uint64))
    drawn.total_queries = len(contents)
    order = np.argsort(contents ^ np.uint64(text_key(str(options.seed))), kind="stable")
    chosen = set(contents[order][: options.max_samples].tolist())
    keys = {key for key, content in content_of.items() if content in chosen}
    return {key: text for key, text in data.read_queries() if key in keys}


def _draw_documents(
    data: SearchData,
    queries: Mapping[int, str],
    judgments: np.ndarray,
    options: SampleOptions,
    drawn: DrawnSearch,
    *,
    training: bool,
) -> tuple[dict[int, int], dict[int, int]]:
    """Draw documents. Return the judged ones, and the documents that are queries themselves, as key → key of the text.

    A document with the id of a query is that query. If most of these do not contain the text of their query, the ids
    are row numbers, and no document is a query.
    """
    is_required = judgments["grade"] >= (0 if training else 1)
    required, judged = set(judgments["document"][is_required].tolist()), set(judgments["document"].tolist())
    present: dict[int, int] = {}
    texts: dict[int, str] = {}
    themselves: dict[int, int] = {}
    contains_query: dict[int, bool] = {}
    others = SmallestTexts(options)
    contents = array("Q")
    n_read = 0
    for key, text in data.read_documents():
        n_read += 1
        if not text:
            continue
        content = text_key(text)
        contents.append(content)
        if key in judged:
            present[key] = content
        if key in queries and not data.texts_are_ids:
            themselves[key] = content
            contains_query[key] = " ".join(queries[key].split()) in " ".join(text.split())
        if key in required:
            texts[content] = text
        else:
            others.add(content, text, first=key in judged)
    empty = n_read - len(contents)
    if too_many(empty, n_read):
        raise EmmsError(
            "documents-empty",
            f"{empty:,} of {pluralize(n_read, 'document')} are empty, and {ALLOWED}",
            "correct the corpus",
        )
    drawn.leave_out(empty, "document", "it is empty")
    _check_present("document", judgments["document"], present, drawn)
    drawn.total_documents = len(np.unique(np.frombuffer(contents, np.uint64)))
    if drawn.total_documents < len(contents) and not data.texts_are_ids:
        drawn.facts.append(f"{drawn.total_documents:,} of {len(contents):,} documents have different texts")
    for content, text in others:
        if options.corpus_size is not None and len(texts) >= options.corpus_size:
            break
        texts.setdefault(content, text)
    drawn.documents = dict(sorted(texts.items()))
    if 2 * sum(contains_query.values()) <= len(contains_query):
        themselves = {}
    return {key: content for key, content in present.items() if content in texts}, themselves


class SmallestTexts:
    """Keep the texts with the smallest keys, up to the size of the corpus."""

    def __init__(self, options: SampleOptions) -> None:
        self._size, self._salt = options.corpus_size, text_key(str(options.seed))
        self._heap: list[tuple[tuple[bool, int], int, str]] = []
        self._places: set[tuple[bool, int]] = set()

    def add(self, content: int, text: str, *, first: bool) -> None:
        """Add a text by its key; texts with `first` are drawn before all others."""
        # The first item of the heap is drawn last, and is removed if there are too many.
        place = (first, -(content ^ self._salt))
        if place in self._places:
            return
        self._places.add(place)
        entry = (place, content, text)
        if len(self._heap) == self._size:
            last, *_ = heapq.heappushpop(self._heap, entry)
            self._places.remove(last)
        else:
            heapq.heappush(self._heap, entry)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((content, text) for _, content, text in sorted(self._heap, reverse=True))


def _check_present(noun: str, judged: np.ndarray, present: Mapping[int, int], drawn: DrawnSearch) -> None:
    """Count judgments that refer to missing texts. Raise an `EmmsError` if they are more than 5 %."""
    absent = int((~np.isin(judged, np.array(list(present), np.uint64))).sum())
    if absent > MAX_SKIPPED * len(judged):
        raise EmmsError(
            "judgments-without-text",
            f"{absent:,} of {pluralize(len(judged), 'judgment')} refer to a {noun} that is missing or empty; at most "
            f"{MAX_SKIPPED:.0%} may",
            "use judgments, queries and documents of one dataset, with the same ids",
        )
    drawn.leave_out(absent, "judgment", f"its {noun} is missing or empty")


def distinct_judgments(judgments: np.ndarray) -> np.ndarray:
    """Return each pair of a query and a document once, with its highest grade, in the order of their keys.

    A document that is the query itself is not searched, unless it was judged to be relevant.
    """
    ranks = np.where(judgments["grade"] == _ITSELF, 0.5, judgments["grade"])
    judgments = judgments[np.lexsort((ranks, judgments["document"], judgments["query"]))]
    pairs = judgments[["query", "document"]]
    return judgments[np.append(pairs[1:] != pairs[:-1], True)] if len(judgments) else judgments
