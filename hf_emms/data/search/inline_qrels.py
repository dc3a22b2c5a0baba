"""Read searches from rows with a query and documents: pairs, negatives, grades of relevance, or lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hf_emms.data.files.open_split import OpenSplit, translate_errors
from hf_emms.data.match import RowSchema, is_series
from hf_emms.data.rows import value_of
from hf_emms.data.search.draw import Judgment, SearchData, text_key
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.inputs import TEXT, UnusableError
from hf_emms.options import SampleOptions

_BATCH = 1_000
# Size of the shuffle buffer of a stream.
_BUFFER = 10_000
# The text of a query, and documents with grades of relevance.
_Example = tuple[str, list[tuple[str, float]]]


def inline_qrels(opened: OpenSplit, schema: RowSchema, options: SampleOptions) -> SearchData:
    """Read the queries, documents and judgments of a split whose rows contain them as texts.

    Texts are their own ids: equal documents are the same for all queries. Without queries, documents are relevant to an
    empty one.
    """

    @cache
    def first_rows() -> list[Mapping[str, Any]]:
        return _first_of_stream(opened, schema, options)

    def rows() -> Iterator[Mapping[str, Any]]:
        if opened.streaming:
            yield from first_rows()
            return
        with translate_errors(opened.name, opened.repo, opened.config):
            for batch in opened.select(schema.columns_read).iter(_BATCH):
                for values in zip(*batch.values(), strict=True):
                    yield dict(zip(batch, values, strict=True))

    def examples() -> Iterator[_Example]:
        for row in rows():
            try:
                yield _read(schema, row)
            except UnusableError:
                continue

    def judgments() -> Iterator[list[Judgment] | UnusableError]:
        for row in rows():
            try:
                query, documents = _read(schema, row)
            except UnusableError as problem:
                yield problem
                continue
            yield [(text_key(query), text_key(text), grade) for text, grade in documents]

    return SearchData(
        opened=opened,
        task=schema.task,
        columns=schema.columns,
        read_judgments=judgments,
        read_queries=lambda: ((text_key(query), query) for query, _ in examples()),
        read_documents=lambda: ((text_key(text), text) for _, documents in examples() for text, _ in documents),
        texts_are_ids=True,
        facts=("the first rows of a shuffled stream",) if opened.streaming else (),
        notes=(*opened.notes, *schema.notes),
        unused=schema.unused,
    )


def _first_of_stream(opened: OpenSplit, schema: RowSchema, options: SampleOptions) -> list[Mapping[str, Any]]:
    """Read the maximum number of queries or documents from a stream, one per row."""
    if options.max_samples is None:
        raise EmmsError(
            "A stream requires a number of rows.",
            "Add " + setting_ref("max_samples", 1000) + ", or remove " + setting_ref("streaming") + ".",
        )
    count = max(options.max_samples, options.corpus_size or options.max_samples)
    with translate_errors(opened.name, opened.repo, opened.config):
        rows = opened.select(schema.columns_read)
        return list(rows.shuffle(seed=options.seed, buffer_size=min(_BUFFER, count)).take(count))


def _read(schema: RowSchema, row: Mapping[str, Any]) -> _Example:
    """Return a row's query and its documents with their grades.

    Raises:
        UnusableError: The query, or every document that may answer it, is empty; or a grade is missing.
    """
    task, query = schema.task, ""
    for column in task.inputs:  # none if the dataset has no queries
        query = TEXT.read(" ".join(_texts(schema, row, column.name, joined=True)), column.name).strip()
    texts = _texts(schema, row, task.label.name)
    documents = [(text, grade) for text, grade in zip(texts, _grades(schema, row, len(texts)), strict=True) if text]
    if not documents:
        raise UnusableError(f"the {task.label.name} is empty")
    negatives = {column.name for column in task.beside if "string" in column.types} & set(schema.columns)
    documents += [(text, 0.0) for role in negatives for text in _texts(schema, row, role) if text]
    return query, documents


def _texts(schema: RowSchema, row: Mapping[str, Any], role: str, *, joined: bool = False) -> list[str]:
    """Return the texts of a role: of a list, of numbered columns; other columns are joined to one text."""
    names = schema.names_of(schema.columns[role])
    values: list[Any] = []
    for name in names:
        value = value_of(row, name)
        values += value if isinstance(value, list) else [value]
    texts = [(value or "").strip() for value in values]
    return [" ".join(filter(None, texts))] if joined or not is_series(names) else texts


def _grades(schema: RowSchema, row: Mapping[str, Any], count: int) -> list[float]:
    roles = [column.name for column in schema.task.beside if "string" not in column.types]
    names = [schema.columns[role] for role in roles if role in schema.columns]
    if not names:
        return [1.0] * count
    value = value_of(row, names[0])
    grades = value if isinstance(value, list) else [value]
    if len(grades) != count or any(grade is None for grade in grades):
        raise UnusableError(f"column {names[0]!r} does not have a grade for each of {count} documents")
    return [float(grade) for grade in grades]
