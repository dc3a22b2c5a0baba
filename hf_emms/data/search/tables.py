"""Read queries, documents and judgments from three tables: BEIR folders, configurations on the Hub, or memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from hf_emms.data.files.limits import WATCH
from hf_emms.data.files.lines import csv_rows, json_lines
from hf_emms.data.files.open_split import OpenSplit, choose_split, open_memory
from hf_emms.data.files.sources import DatasetSource
from hf_emms.data.search.draw import Judgment, SearchData, text_key
from hf_emms.errors import EmmsError
from hf_emms.inputs import UnusableError
from hf_emms.options import SampleOptions
from hf_emms.tasks import TASKS, Task, get_task, use_column
from hf_emms.texts import setting_ref

# Names of the tables and of their columns, in the order in which they are tried.
_CORPUS, _QUERIES, _JUDGMENTS = "corpus", ("queries", "query"), ("default", "qrels", "relevance")
_IDS = ("_id", "id", "query-id", "corpus-id")
_QUERY_TEXTS = ("text", "query", "question")
_DOCUMENT_TEXTS = (("title", "text"), ("text",))
_QUERY_IDS = ("query-id", "query_id")
# NanoBEIR lists the ids of the documents of a query.
_DOCUMENT_IDS = ("corpus-id", "corpus_id", "positive-corpus-ids", "corpus-ids")
_GRADES = ("score", "relevance")
_BATCH, _FIRST_LINES = 1_000, 100
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table that can be read several times.

    Attributes:
        name: Of its file or configuration, for messages.
        rows: Reads the rows from the start.
    """

    name: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[_Row]]

    def column(self, candidates: Sequence[str], content: str) -> str:
        """Return the first column with one of these names in any case; an `EmmsError` if there is none."""
        name = self.find(candidates)
        if name is None:
            columns = ", ".join(self.columns)
            raise EmmsError(
                "unknown-column", f"{self.name} has no column of {content}: {columns}", f"name it {candidates[0]}"
            )
        return name

    def find(self, candidates: Sequence[str]) -> str | None:
        by_lower = {name.lower(): name for name in self.columns}
        return next((by_lower[name] for name in candidates if name in by_lower), None)


@dataclass(frozen=True)
class _Tables:
    """The three tables of a search. The judgments come from the split `opened`."""

    opened: OpenSplit
    queries: Table
    corpus: Table
    judgments: Table


def search_tables(source: DatasetSource, options: SampleOptions) -> SearchData | None:
    """Return the search of a dataset with queries, documents and judgments in three tables, or None.

    Raises:
        EmmsError: A table is missing, has no column of ids or texts, or cannot be read; or several languages fit.
    """
    id = options.task or (source.preset.task if source.preset else None)
    searches = (task for task in TASKS.built_in.values() if task.input.is_collection)
    task = next(searches) if id is None else get_task(id)
    if not task.input.is_collection:
        return None
    path = source.repo.folder
    if id is None and path is not None and path.is_file() and path in _beir_files(path.parent).values():
        hint = "name the folder: " + setting_ref("dataset", str(path.parent))
        raise EmmsError("part-of-search", f"{path.name} is one of the tables of a search", hint)
    if isinstance(source.data, Mapping):
        tables = _in_memory(source, options)
    elif path is not None and (files := _beir_files(path)):
        tables = _in_folder(source, options, files)
    else:
        tables = None if source.data is not None else _in_configurations(source, options)
    if tables is None:
        return None
    of_preset = source.preset.columns if source.preset and source.preset.task == task.id else {}
    columns = _columns(task, {**of_preset, **options.columns}, tables)
    query, document, *grades = columns.values()
    names = [f"{table.name}" for table in (tables.queries, tables.corpus, tables.judgments)]
    return SearchData(
        opened=tables.opened,
        task=task,
        columns=columns,
        read_judgments=partial(_read_judgments, tables.judgments, *grades),
        read_queries=partial(_keyed_texts, tables.queries, query.split(",")),
        read_documents=partial(_keyed_texts, tables.corpus, document.split(",")),
        texts_are_ids=False,
        source=f" of {tables.judgments.name}",
        facts=("queries from {}, documents from {}, relevance judgments from {}".format(*names),),
        notes=tables.opened.notes,
    )


def _columns(task: Task, named: Mapping[str, str], tables: _Tables) -> dict[str, str]:
    """Return the columns of each role: those that the user named, else columns with usual names."""
    query, document = task.inputs[0].name, task.label.name
    relevance = next(column.name for column in task.beside if "integer" in column.types)
    table_of = {query: tables.queries, document: tables.corpus, relevance: tables.judgments}
    for role, names in named.items():
        if role not in table_of:
            raise EmmsError("unknown-role", f"tables of queries, documents and judgments have no {role}", "remove it")
        missing = [name for name in names.split(",") if name not in table_of[role].columns]
        if missing:
            columns = ", ".join(table_of[role].columns)
            raise EmmsError(
                "unknown-column", f"{table_of[role].name} has no column {missing[0]!r}: {columns}", use_column(role)
            )
    lower = {name.lower() for name in tables.corpus.columns}
    usual = next((names for names in _DOCUMENT_TEXTS if set(names) <= lower), ("text",))
    roles = {
        query: named.get(query) or tables.queries.column(_QUERY_TEXTS, "texts"),
        document: named.get(document) or ",".join(tables.corpus.column((name,), "texts") for name in usual),
    }
    grades = named.get(relevance) or tables.judgments.find(_GRADES)
    return roles | ({relevance: grades} if grades else {})


def _read_judgments(table: Table, grade: str | None = None) -> Iterator[list[Judgment] | UnusableError]:
    query_id = table.column(_QUERY_IDS, "ids of queries")
    document_id = table.column(_DOCUMENT_IDS, "ids of documents")
    for row in table.rows():
        try:
            query, value = text_key(_id(row.get(query_id), query_id)), row.get(document_id)
            documents = [_id(id, document_id) for id in (value if isinstance(value, list) else [value])]
            relevance = 1.0 if grade is None else float(row[grade])
        except UnusableError as problem:
            yield problem
        except (TypeError, ValueError, KeyError):
            yield UnusableError(f"the {grade} is {row.get(grade or '')!r}, not a number")
        else:
            yield [(query, text_key(document), relevance) for document in documents]


def _id(value: Any, column: str) -> str:
    """Return an id as a text: the number 7 and the text "7" are the same."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip()
    if not text:
        raise UnusableError(f"no {column}")
    return text


def _keyed_texts(table: Table, columns: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the key of each id, and the texts of the columns joined; empty if none has a text."""
    id = table.column(_IDS, "ids")
    for number, row in enumerate(table.rows(), start=1):
        try:
            key = text_key(_id(row.get(id), id))
        except UnusableError as problem:
            raise EmmsError("no-id", f"row {number:,} of {table.name} has {problem}", "give every row an id") from None
        texts = (str(value).strip() for column in columns if (value := row.get(column)) is not None)
        yield key, " ".join(filter(None, texts))


# ---- datasets --------------------------------------------------------------------------------------------------------


def _dataset_table(name: str, splits: Sequence[OpenSplit]) -> Table:
    """Return the table of the rows of all splits in turn; only a batch is in memory."""

    def rows() -> Iterator[_Row]:
        for split in splits:
            for batch in split.rows.with_format(None).iter(_BATCH):
                WATCH.get().advanced()
                for values in zip(*batch.values(), strict=True):
                    yield dict(zip(batch, values, strict=True))

    return Table(name, tuple(splits[0].rows.features), rows)


def _of_split(name: str, judged: OpenSplit, open_split: Callable[[str | None], OpenSplit]) -> Table:
    """Return the rows of the split with the judgments' name, or else of all splits."""
    first = open_split(None)
    names = [judged.split] if judged.split in first.splits else list(first.splits)
    return _dataset_table(name, [open_split(split) for split in names] or [first])


def _in_memory(source: DatasetSource, options: SampleOptions) -> _Tables | None:
    """Return the tables of a dictionary with "corpus", "queries" and "qrels"."""
    data = source.data
    if not {"corpus", "queries", "qrels"} <= data.keys():
        return None
    opened = open_memory(source.name, source.repo, data["qrels"], source.split(options), options)

    def table(name: str) -> Table:
        open_split = partial(open_memory, source.name, source.repo, data[name], options=options)
        return _of_split(f"the {name}", opened, open_split)

    return _Tables(opened, table("queries"), table("corpus"), _dataset_table("the judgments", [opened]))


def _in_configurations(source: DatasetSource, options: SampleOptions) -> _Tables | None:
    """Return the tables of a repository's configurations; None without a corpus and queries."""
    names = source.configurations
    queries = next((name for name in _QUERIES if name in names), None)
    if _CORPUS not in names or queries is None or source.config not in (None, *_JUDGMENTS):
        return None
    judgments = source.config or next((name for name in _JUDGMENTS if name in names), None)
    if judgments is None:
        raise _no_judgments(source)
    opened = source.files_of(judgments).open(source.split(options))
    judged = _dataset_table(f"the configuration {judgments}", [opened])
    if judged.find(_QUERY_IDS) is None and judgments == _JUDGMENTS[0]:
        return None  # rows of another kind
    opened = replace(opened, name=source.name, config=source.config, notes=(*opened.notes, *source.notes))

    def table(config: str) -> Table:
        return _of_split(f"the configuration {config}", opened, source.files_of(config).open)

    return _Tables(opened, table(queries), table(_CORPUS), judged)


def _no_judgments(source: DatasetSource) -> EmmsError:
    return EmmsError(
        "no-judgments",
        f"{source.name!r} has queries and a corpus, but no relevance judgments",
        "add qrels/train.tsv, or a configuration qrels, with the columns query-id, corpus-id and score",
    )


# ---- BEIR folders ----------------------------------------------------------------------------------------------------


def _beir_files(folder: Path) -> dict[str, Path]:
    """Return the files of a corpus, of queries and, if it is next to them, of judgments, such as corpus.jsonl.gz.

    Empty unless corpus and queries are there.
    """
    paths = (path for suffix in (".[tc]sv", ".jsonl") for path in sorted(folder.glob(f"*{suffix}*")))
    files = {path.name.partition(".")[0]: path for path in paths}
    names = [name for name in ("corpus", "queries", "qrels") if name in files]
    return {name: files[name] for name in names} if {"corpus", "queries"} <= {*names} else {}


def _in_folder(source: DatasetSource, options: SampleOptions, files: Mapping[str, Path]) -> _Tables:
    """Return the tables of a BEIR folder: corpus.jsonl, queries.jsonl, and qrels with a .tsv or .csv per split.

    All may be CSV files, and qrels a single file.
    """
    folder = source.repo.folder
    assert folder is not None
    by_split = {path.name.partition(".")[0]: path for path in sorted((folder / "qrels").glob("*.[tc]sv*"))}
    if not by_split and "qrels" in files:
        by_split = {"train": files["qrels"]}
    if not by_split:
        raise _no_judgments(source)
    splits = tuple(by_split)
    split, notes = choose_split(source.name, splits, source.split(options))
    opened = OpenSplit(source.name, source.repo, source.config, split, None, None, splits, notes)
    paths = (files["queries"], files["corpus"], by_split[split])
    queries, corpus, judgments = (_file_table(path, path.relative_to(folder).as_posix()) for path in paths)
    return _Tables(opened, queries, corpus, judgments)


def _file_table(path: Path, name: str) -> Table:
    return _json_table(path) if ".jsonl" in path.suffixes else _csv_table(path, name)


def _json_table(path: Path) -> Table:
    columns = tuple(dict.fromkeys(column for row in islice(json_lines(path), _FIRST_LINES) for column in row))
    return Table(path.name, columns, partial(json_lines, path))


def _csv_table(path: Path, name: str) -> Table:
    names = tuple(map(str.strip, next(csv_rows(path), [])))

    def rows() -> Iterator[_Row]:
        return (dict(zip(names, cells, strict=False)) for cells in islice(csv_rows(path), 1, None))

    return Table(name, names, rows)
