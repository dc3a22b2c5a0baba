"""Queries, documents and judgements in three tables: folders of BEIR, the Hub's configurations, datasets in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from hf_emms.data.files.lines import csv_rows, json_lines
from hf_emms.data.files.local import reader_of
from hf_emms.data.files.open_split import (
    ConfigurationError,
    OpenSplit,
    choose_split,
    find_files,
    open_memory,
    translate_errors,
)
from hf_emms.data.files.sources import DatasetSource
from hf_emms.data.rows import FEW_SKIPPED
from hf_emms.data.search.draw import text_key
from hf_emms.errors import EmmsError, Note, setting_ref
from hf_emms.hub import RepoNotFoundError, resolve
from hf_emms.inputs import UnusableError
from hf_emms.options import SampleOptions
from hf_emms.tasks import TASKS, Task, get_task, use_column

# Names of the tables, and of their columns, in the order in which they are looked for.
_CORPUS, _QUERIES, _JUDGEMENTS = "corpus", ("queries", "query"), ("default", "qrels", "relevance")
_IDS = ("_id", "id", "query-id", "query_id", "qid", "corpus-id", "corpus_id", "doc_id", "docid", "pid")
_QUERY_TEXTS = ("text", "query", "question")
_DOCUMENT_TEXTS = (("title", "text"), ("text",), ("contents",), ("passage",), ("document",), ("body",))
_QUERY_IDS = ("query-id", "query_id", "qid", "query")
_DOCUMENT_IDS = (
    *("corpus-id", "corpus_id", "doc-id", "doc_id", "docid", "pid", "document-id"),
    *("positive-corpus-ids", "positive_corpus_ids", "corpus-ids", "corpus_ids"),
)
_GRADES = ("score", "relevance", "label", "grade", "rel")
# The columns of judgements without a line of names: of BEIR, and of TREC with a second column of zeros.
_HEADERS = (
    ("query-id", "corpus-id"),
    ("query-id", "corpus-id", "score"),
    ("query-id", "iteration", "corpus-id", "score"),
)
_BATCH, _FIRST_LINES = 1_000, 100


@dataclass(frozen=True)
class Table:
    """A table that can be read several times.

    Attributes:
        name: of its file or configuration, for messages.
        rows: reads it from the start, in order; a row is column → cell.
    """

    name: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Mapping[str, Any]]]
    notes: tuple[Note | str, ...] = ()

    def column(self, candidates: Sequence[str], content: str) -> str:
        """Return the first column of these names in any case; an `EmmsError` if there is none."""
        name = self.find(candidates)
        if name is None:
            columns = ", ".join(self.columns)
            raise EmmsError(f"{self.name} has no column of {content}: {columns}", f"name it {candidates[0]}")
        return name

    def find(self, candidates: Sequence[str]) -> str | None:
        by_lower = {name.lower(): name for name in self.columns}
        return next((by_lower[name] for name in candidates if name in by_lower), None)


@dataclass
class SearchTables:
    """The queries, documents and judgements of three tables, by the keys of their ids; see `SearchData`.

    Attributes:
        columns: role → the columns of texts of the tables of queries and of documents, and of grades where there are.
    """

    opened: OpenSplit
    task: Task
    columns: Mapping[str, str]
    query_table: Table
    corpus: Table
    judged: Table
    texts_are_ids: bool = False
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)
    n_rows: int = 0
    unused: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[Note | str, ...]:
        tables = f"queries are read from {self.query_table.name}, documents from {self.corpus.name}, judgements from "
        notes = (*self.query_table.notes, *self.corpus.notes, *self.judged.notes)
        return (*self.opened.notes, f"{tables}{self.judged.name}", *notes)

    def judgements(self) -> Iterator[tuple[int, int, float]]:
        """Yield the keys of a query and of a document, and the grade; counts the rows that cannot be read."""
        query_id = self.judged.column(_QUERY_IDS, "ids of queries")
        document_id = self.judged.column(_DOCUMENT_IDS, "ids of documents")
        grade = self.columns.get(_grade_role(self.task))
        for row in self.judged.rows():
            self.n_rows += 1
            try:
                query, value = _id(row.get(query_id), query_id), row.get(document_id)
                documents = [_id(id, document_id) for id in (value if isinstance(value, list) else [value])]
                relevance = 1.0 if grade is None else _number(row.get(grade), grade)
            except UnusableError as problem:
                self.skipped += 1
                if len(self.reasons) < FEW_SKIPPED:
                    self.reasons.append(f"row {self.n_rows:,} of {self.judged.name}: {problem}")
                continue
            key = text_key(query)
            yield from ((key, text_key(document), relevance) for document in documents)

    def queries(self) -> Iterator[tuple[int, str]]:
        return _keyed_texts(self.query_table, self.columns[self.task.inputs[0].name].split(","))

    def documents(self) -> Iterator[tuple[int, str]]:
        return _keyed_texts(self.corpus, self.columns[self.task.label.name].split(","))


def search_tables(source: DatasetSource, options: SampleOptions) -> SearchTables | None:
    """Return the tables of a dataset that holds queries, documents and judgements apart, or None.

    Raises:
        EmmsError: a table is missing, has no column of ids or texts, or cannot be read; several languages fit.
    """
    task = _search_task(source, options)
    if task is None:
        return None
    if isinstance(source.data, Mapping):
        tables = _in_memory(source, options)
    elif source.repo.folder is not None and (files := _table_files(source.repo.folder)):
        tables = _in_folder(source, options, files)
    else:
        tables = None if source.data is not None else _in_configurations(source, options)
    if tables is None:
        return None
    opened, query_table, corpus, judged = tables
    of_preset = source.preset.columns if source.preset and source.preset.task == task.id else {}
    columns = _columns(task, {**of_preset, **options.columns}, query_table, corpus, judged)
    return SearchTables(opened, task, columns, query_table, corpus, judged)


# The split of the judgements, and the tables of queries, documents and judgements.
_Tables = tuple[OpenSplit, Table, Table, Table]


def _search_task(source: DatasetSource, options: SampleOptions) -> Task | None:
    """Return the task of the options or the preset if it is a search; where none is named, that for tables."""
    id = options.task or (source.preset.task if source.preset else None)
    if id is None:
        return next(task for task in TASKS.built_in.values() if task.input.is_collection)
    task = get_task(id)
    return task if task.input.is_collection else None


def _grade_role(task: Task) -> str:
    return next(column.name for column in task.beside if "integer" in column.types)


def _columns(task: Task, named: Mapping[str, str], query_table: Table, corpus: Table, judged: Table) -> dict[str, str]:
    """Return role → columns: those that are named, else those of usual names."""
    roles = {task.inputs[0].name: query_table, task.label.name: corpus, _grade_role(task): judged}
    for role, names in named.items():
        if role not in roles:
            raise EmmsError(f"there is no {role} beside tables of queries, documents and judgements", "leave it out")
        table = roles[role]
        missing = [name for name in names.split(",") if name not in table.columns]
        if missing:
            raise EmmsError(f"{table.name} has no column {missing[0]!r}: {', '.join(table.columns)}", use_column(role))
    query, document, grade = roles
    by_lower = {name.lower(): name for name in corpus.columns}
    usual = next((names for names in _DOCUMENT_TEXTS if set(names) <= set(by_lower)), ("text",))
    columns = {
        query: named.get(query) or query_table.column(_QUERY_TEXTS, "texts"),
        document: named.get(document) or ",".join(corpus.column((name,), "texts") for name in usual),
    }
    grades = named.get(grade) or judged.find(_GRADES)
    return columns | ({grade: grades} if grades else {})


def _id(value: Any, column: str) -> str:
    """Return an id as a text: the number 7 and the text "7" are the same."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip()
    if not text:
        raise UnusableError(f"no {column}")
    return text


def _number(value: Any, column: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UnusableError(f"the {column} is {value!r}, and no number") from None


def _keyed_texts(table: Table, columns: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the key of each id, and the texts of the columns joined; empty where none has a text."""
    id = table.column(_IDS, "ids")
    for number, row in enumerate(table.rows(), start=1):
        try:
            key = text_key(_id(row.get(id), id))
        except UnusableError as problem:
            raise EmmsError(f"row {number:,} of {table.name} has {problem}", "give every row an id") from None
        texts = (str(value).strip() for column in columns if (value := row.get(column)) is not None)
        yield key, " ".join(filter(None, texts))


# ---- datasets --------------------------------------------------------------------------------------------------------


def _table(name: str, splits: Sequence[OpenSplit]) -> Table:
    """Return the table of the rows of all splits in turn; only a batch is in memory."""

    def rows() -> Iterator[Mapping[str, Any]]:
        for split in splits:
            with translate_errors(split.name, split.repo, split.config):
                for batch in split.rows.with_format(None).iter(_BATCH):
                    for values in zip(*batch.values(), strict=True):
                        yield dict(zip(batch, values, strict=True))

    return Table(name, tuple(splits[0].rows.features), rows)


def _of_split(name: str, judged: OpenSplit, open_split: Callable[[str | None], OpenSplit]) -> Table:
    """Return a table of queries or documents: the split of the judgements' name, or all splits of the table."""
    first = open_split(None)
    names = [judged.split] if judged.split in first.splits else list(first.splits)
    return _table(name, [open_split(split) for split in names] or [first])


def _in_memory(source: DatasetSource, options: SampleOptions) -> _Tables | None:
    """Return the tables of a dictionary with "corpus", "queries" and "qrels"."""
    data = {str(name).lower(): table for name, table in source.data.items()}
    queries, judgements = (
        next((data[name] for name in names if name in data), None) for names in (_QUERIES, _JUDGEMENTS)
    )
    if _CORPUS not in data or queries is None or judgements is None:
        return None
    judged = open_memory(source.name, source.repo, judgements, source.split(options))

    def table(name: str, rows: Any) -> Table:
        return _of_split(name, judged, partial(open_memory, source.name, source.repo, rows))

    return judged, table("the queries", queries), table("the corpus", data[_CORPUS]), _table("the judgements", [judged])


def _in_configurations(source: DatasetSource, options: SampleOptions) -> _Tables | None:
    """Return the tables of a repository's configurations, or of the folders of a folder; None where there are none."""
    parts = _parts(_configuration_names(source), source.config)
    if parts is None:
        return None
    corpus, queries, judgements = parts
    beside = source if judgements is not None else _repository_of_judgements(source)
    streaming = source.is_streamed(options)
    opened = beside.files_of(judgements).open(source.split(options), streaming=streaming)
    choose_split(source.name, opened.splits, source.split(options))
    judged = _table(f"the configuration {judgements}" if judgements else beside.repo.id, [opened])
    if judged.find(_QUERY_IDS) is None and judgements == _JUDGEMENTS[0]:
        return None  # rows of another kind
    notes = (*opened.notes, *beside.notes)
    opened = replace(opened, name=source.name, repo=source.repo, config=source.config, notes=notes)

    def table(config: str) -> Table:
        files = source.files_of(config)
        return _of_split(f"the configuration {config}", opened, lambda split: files.open(split, streaming=streaming))

    return opened, table(queries), table(corpus), judged


def _configuration_names(source: DatasetSource) -> set[str]:
    folder = source.repo.folder
    if folder is not None:
        folders = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
        if _CORPUS in folders or not folder.is_dir():
            return folders
    return set(source.configurations)


def _parts(names: set[str], config: str | None) -> tuple[str, str, str | None] | None:
    """Return the configurations of documents, queries and judgements, the last perhaps in another repository."""
    languages = sorted(name.removesuffix(f"-{_CORPUS}") for name in names if name.endswith(f"-{_CORPUS}"))
    languages = [language for language in languages if config in (None, language)]
    if _CORPUS in names and (config is None or config in _JUDGEMENTS):
        language = prefix = ""
    elif len(languages) > 1:
        raise ConfigurationError(
            f"there is a corpus for each of {', '.join(languages)}", setting_ref("config", *languages)
        )
    elif languages:
        (language,) = languages
        prefix = f"{language}-"
    else:
        return None
    queries = next((prefix + name for name in _QUERIES if prefix + name in names), None)
    if queries is None:
        return None
    usual = (config,) if config in _JUDGEMENTS else (*(prefix + name for name in _JUDGEMENTS), language)
    return prefix + _CORPUS, queries, next((name for name in usual if name in names), None)


def _repository_of_judgements(source: DatasetSource) -> DatasetSource:
    """Return the dataset beside a dataset of BEIR, of the same name with -qrels, that holds its judgements."""
    if source.repo.folder is not None:
        raise _no_judgements(source)
    try:
        repo = resolve(f"{source.repo.id}-qrels", "dataset")
    except RepoNotFoundError as error:
        raise _no_judgements(source) from error
    note = Note("judgments-repository", f"Judgments from {repo.id} at {repo.revision[:7]}.")
    return DatasetSource(source.name, repo, notes=(*source.notes, note))


def _no_judgements(source: DatasetSource) -> EmmsError:
    return EmmsError(
        f"{source.name!r} has queries and a corpus, and nothing says which documents answer which query",
        "add qrels/train.tsv, or a configuration qrels, with the columns query-id, corpus-id and score",
    )


# ---- folders of files ------------------------------------------------------------------------------------------------


def _table_files(folder: Path) -> dict[str, Path]:
    """Return the files of a corpus and of queries by these names; empty unless both are there."""
    files = {path.name.partition(".")[0].lower(): path for path in sorted(folder.glob("*")) if reader_of(path)}
    queries = next((files[name] for name in _QUERIES if name in files), None)
    return {_CORPUS: files[_CORPUS], _QUERIES[0]: queries} if _CORPUS in files and queries is not None else {}


def _in_folder(source: DatasetSource, options: SampleOptions, files: Mapping[str, Path]) -> _Tables:
    """Return the tables of a folder as BEIR writes it: corpus.jsonl, queries.jsonl, and qrels with a file a split."""
    folder = source.repo.folder
    assert folder is not None
    inside = sorted((folder / "qrels").glob("*")) or sorted(folder.glob("qrels*"))
    by_split = {path.name.partition(".")[0]: path for path in inside if reader_of(path)}
    if not by_split:
        raise _no_judgements(source)
    splits = tuple(by_split)
    split, notes = choose_split(source.name, splits, source.split(options))
    opened = OpenSplit(source.name, source.repo, source.config, split, None, None, splits, tuple(notes))
    table = partial(_file_table, source, folder)
    return opened, table(files[_QUERIES[0]]), table(files[_CORPUS]), table(by_split[split])


def _file_table(source: DatasetSource, folder: Path, path: Path) -> Table:
    name, reader = str(path.relative_to(folder)), reader_of(path)
    if reader == "csv":
        return _csv_table(name, path)
    if reader == "json" and ".jsonl" in path.suffixes:
        first = islice(json_lines(path), _FIRST_LINES)
        columns = tuple(dict.fromkeys(column for row in first for column in row))
        if not columns:
            raise EmmsError(f"{name} is empty.", "It requires one JSON object per row.")
        return Table(name, columns, partial(json_lines, path))
    opened = find_files(str(path), replace(source.repo, folder=path), None).open(None, streaming=False)
    return _table(name, [opened])


def _csv_table(name: str, path: Path) -> Table:
    """Return the table of a file separated by tabs, commas or spaces, with or without a line of names."""

    def cells() -> Iterator[list[str]]:
        return (row[0].split() if len(row) == 1 else row for row in csv_rows(path))

    first = next(cells(), None)
    if first is None:
        raise EmmsError(f"{name} is empty.", "It requires a row per judgment: query-id, corpus-id, score")
    names = tuple(cell.strip() for cell in first)
    if {*map(str.lower, names)} & {*_IDS, *_QUERY_IDS}:
        return Table(name, names, lambda: (dict(zip(names, row, strict=False)) for row in islice(cells(), 1, None)))
    usual = next((usual for usual in _HEADERS if len(usual) == len(names)), None)
    if usual is None:
        raise EmmsError(
            f"{name} has {len(names)} columns, but no line of names.", "Add one: query-id, corpus-id, score"
        )
    note = f"{name} has no line of names. Reading its columns as {', '.join(usual)}."
    return Table(name, usual, lambda: (dict(zip(usual, row, strict=False)) for row in cells()), (note,))
