"""Read searches from rows with a query, a document that answers it, and documents that do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hf_emms.data.files.limits import WATCH
from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.match import RowSchema, is_series
from hf_emms.data.match.columns import value_of
from hf_emms.data.search.draw import Judgment, SearchData, text_key
from hf_emms.inputs import TEXT, UnusableError

_BATCH = 1_000
# The text of a query, and documents with grades of relevance.
_Example = tuple[str, list[tuple[str, float]]]


def search_pairs(opened: OpenSplit, schema: RowSchema) -> SearchData:
    """Read the queries, documents and judgments of a split whose rows contain them as texts.

    Texts are their own ids: equal documents are the same for all queries. Without queries, documents are relevant to an
    empty one.
    """

    def examples() -> Iterator[_Example | UnusableError]:
        for batch in opened.select(schema.columns_read).iter(_BATCH):
            WATCH.get().advanced()
            for values in zip(*batch.values(), strict=True):
                try:
                    yield _read(schema, dict(zip(batch, values, strict=True)))
                except UnusableError as problem:
                    yield problem

    def readable() -> Iterator[_Example]:
        return (example for example in examples() if not isinstance(example, UnusableError))

    def judgments() -> Iterator[list[Judgment] | UnusableError]:
        for example in examples():
            if isinstance(example, UnusableError):
                yield example
            else:
                query, documents = example
                yield [(text_key(query), text_key(text), grade) for text, grade in documents]

    return SearchData(
        opened=opened,
        task=schema.task,
        columns=schema.columns,
        read_judgments=judgments,
        read_queries=lambda: ((text_key(query), query) for query, _ in readable()),
        read_documents=lambda: ((text_key(text), text) for _, documents in readable() for text, _ in documents),
        texts_are_ids=True,
        notes=(*opened.notes, *schema.notes),
        unused=schema.unused,
    )


def _read(schema: RowSchema, row: Mapping[str, Any]) -> _Example:
    """Return a row's query and its documents with their grades.

    Raises:
        UnusableError: The query, or every document that may answer it, is empty; or the grade is missing.
    """
    task, query, grade = schema.task, "", 1.0
    for column in task.inputs:  # none if the dataset has no queries
        query = TEXT.read(" ".join(_texts(schema, row, column.name, joined=True)), column.name).strip()
    documents = _texts(schema, row, task.label.name)
    if not documents:
        raise UnusableError(f"the {task.label.name} is empty")
    negatives: list[str] = []
    for column in task.beside:
        if column.name not in schema.columns:
            continue
        if "string" in column.types:
            negatives += _texts(schema, row, column.name)
        elif (value := value_of(row, schema.columns[column.name])) is not None:
            grade = float(value)
        else:
            raise UnusableError(f"no {column.name} in column {schema.columns[column.name]!r}")
    return query, [*((text, grade) for text in documents), *((text, 0.0) for text in negatives)]


def _texts(schema: RowSchema, row: Mapping[str, Any], role: str, *, joined: bool = False) -> list[str]:
    """Return the texts of a row for a role: the elements of a list, or the joined columns."""
    names = schema.names_of(schema.columns[role])
    values: list[Any] = []
    for name in names:
        value = value_of(row, name)
        values += value if isinstance(value, list) else [value]
    texts = [text for value in values if (text := (value or "").strip())]
    return [" ".join(texts)] if texts and (joined or not is_series(names)) else texts
