"""Rows that hold a query with documents: pairs, with negatives, with grades of relevance, or lists of documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hf_emms.data.column_checks import is_series
from hf_emms.data.columns import RowSchema
from hf_emms.data.files.open_split import OpenSplit, translate_errors
from hf_emms.data.rows import FEW_SKIPPED, value_of
from hf_emms.data.search.draw import text_key
from hf_emms.errors import EmmsError, Note, setting_ref
from hf_emms.inputs import TEXT, UnusableError
from hf_emms.options import SampleOptions
from hf_emms.tasks import Task

_BATCH = 1_000
# Rows of a stream that are held in memory to shuffle them.
_BUFFER = 10_000
# A document with the grade of its relevance.
GradedText = tuple[str, float]


@dataclass
class InlineQrels:
    """The queries, documents and judgements of a split whose rows hold them as texts; see `SearchData`.

    Texts are their own ids: equal documents are the same, whichever query they belong to.
    """

    opened: OpenSplit
    schema: RowSchema
    options: SampleOptions
    texts_are_ids: bool = True
    skipped: int = field(init=False)
    reasons: list[str] = field(init=False)
    n_rows: int = field(init=False)

    @property
    def task(self) -> Task:
        return self.schema.task

    @property
    def columns(self) -> Mapping[str, str]:
        return self.schema.columns

    @property
    def unused(self) -> tuple[str, ...]:
        return self.schema.unused

    @property
    def notes(self) -> tuple[Note | str, ...]:
        streamed = f"streamed: the first {self.n_rows:,} rows of a shuffled stream, not the whole split"
        return (*self.opened.notes, *self.schema.notes, *([streamed] if self.opened.streaming else []))

    def judgements(self) -> Iterator[tuple[int, int, float]]:
        """Yield the keys of a query and of a document, and the grade; counts the rows that cannot be read."""
        self.skipped, self.n_rows, self.reasons = 0, 0, []
        for number, row in enumerate(self._rows(), start=1):
            self.n_rows = number
            try:
                query, documents = self._read(row)
            except UnusableError as problem:
                self.skipped += 1
                if len(self.reasons) < FEW_SKIPPED:
                    self.reasons.append(f"row {number:,}: {problem}")
                continue
            key = text_key(query)
            yield from ((key, text_key(text), grade) for text, grade in documents)

    def queries(self) -> Iterator[tuple[int, str]]:
        for query, _ in self._usable():
            yield text_key(query), query

    def documents(self) -> Iterator[tuple[int, str]]:
        for _, documents in self._usable():
            yield from ((text_key(text), text) for text, _ in documents)

    @cached_property
    def _first_rows(self) -> list[Mapping[str, Any]]:
        """As many rows of a stream as a sample may have queries, or documents."""
        limit = self.options.max_samples
        if limit is None:
            raise EmmsError(
                "a stream is read up to a number of rows",
                "add " + setting_ref("max_samples", 1000) + ", or leave " + setting_ref("streaming") + " out",
            )
        count = max(limit, self.options.corpus_size or limit)
        with translate_errors(self.opened.name, self.opened.repo, self.opened.config):
            rows = self.opened.select(self.schema.columns_read)
            return list(rows.shuffle(seed=self.options.seed, buffer_size=min(_BUFFER, count)).take(count))

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        if self.opened.streaming:
            yield from self._first_rows
            return
        with translate_errors(self.opened.name, self.opened.repo, self.opened.config):
            for batch in self.opened.select(self.schema.columns_read).iter(_BATCH):
                for values in zip(*batch.values(), strict=True):
                    yield dict(zip(batch, values, strict=True))

    def _usable(self) -> Iterator[tuple[str, list[GradedText]]]:
        for row in self._rows():
            try:
                yield self._read(row)
            except UnusableError:
                continue

    def _read(self, row: Mapping[str, Any]) -> tuple[str, list[GradedText]]:
        """Return a row's query and its documents with their grades.

        Raises:
            UnusableError: the query, or every document that may answer it, is empty; or a grade is missing.
        """
        (role,) = (column.name for column in self.task.inputs)
        query = TEXT.read(" ".join(self._texts(row, role, joined=True)), role).strip()
        texts = self._texts(row, self.task.label.name)
        grades = self._grades(row, len(texts))
        documents = [(text, grade) for text, grade in zip(texts, grades, strict=True) if text]
        if not documents:
            raise UnusableError(f"the {self.task.label.name} is empty")
        negatives = {column.name for column in self.task.beside if "string" in column.types} & set(self.columns)
        documents += [(text, 0.0) for role in negatives for text in self._texts(row, role) if text]
        return query, documents

    def _texts(self, row: Mapping[str, Any], role: str, *, joined: bool = False) -> list[str]:
        """Return the texts of a role: of a list, of numbered columns; other columns are joined to a text."""
        names = self.columns[role].split(",")
        values: list[Any] = []
        for name in names:
            value = value_of(row, name)
            values += value if isinstance(value, list) else [value]
        texts = [(value or "").strip() for value in values]
        return [" ".join(filter(None, texts))] if joined or not is_series(names) else texts

    def _grades(self, row: Mapping[str, Any], count: int) -> list[float]:
        roles = [column.name for column in self.task.beside if "string" not in column.types]
        names = [self.columns[role] for role in roles if role in self.columns]
        if not names:
            return [1.0] * count
        value = value_of(row, names[0])
        grades = value if isinstance(value, list) else [value]
        if len(grades) != count:
            raise UnusableError(f"{count} documents have {len(grades)} grades in column {names[0]!r}")
        if any(grade is None for grade in grades):
            raise UnusableError(f"no grade in column {names[0]!r}")
        return [float(grade) for grade in grades]
