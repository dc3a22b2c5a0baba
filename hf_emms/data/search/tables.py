"""Read queries, documents and judgments from three tables: BEIR folders, configurations on the Hub, or memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from hf_emms.data.search.draw import Judgment, SearchData, text_key
from hf_emms.errors import EmmsError, Note, setting_ref
from hf_emms.hub import RepoNotFoundError, resolve
from hf_emms.inputs import UnusableError
from hf_emms.options import SampleOptions
from hf_emms.tasks import TASKS, Task, get_task, use_column

# Names of the tables and of their columns, in the order in which they are tried.
_CORPUS, _QUERIES, _JUDGMENTS = "corpus", ("queries", "query"), ("default", "qrels", "relevance")
_IDS = ("_id", "id", "query-id", "query_id", "qid", "corpus-id", "corpus_id", "doc_id", "docid", "pid")
_QUERY_TEXTS = ("text", "query", "question")
_DOCUMENT_TEXTS = (("title", "text"), ("text",), ("contents",), ("passage",), ("document",), ("body",))
_QUERY_IDS = ("query-id", "query_id", "qid", "query")
_DOCUMENT_IDS = (
    *("corpus-id", "corpus_id", "doc-id", "doc_id", "docid", "pid", "document-id"),
    *("positive-corpus-ids", "positive_corpus_ids", "corpus-ids", "corpus_ids"),
)
_GRADES = ("score", "relevance", "label", "grade", "rel")
# Columns of judgments without a line of names: of BEIR, and of TREC with a second column of zeros.
_HEADERS = (
    ("query-id", "corpus-id"),
    ("query-id", "corpus-id", "score"),
    ("query-id", "iteration", "corpus-id", "score"),
)
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
    notes: tuple[Note, ...] = ()

    def column(self, candidates: Sequence[str], content: str) -> str:
        """Return the first column with one of these names in any case; an `EmmsError` if there is none."""
        name = self.find(candidates)
        if name is None:
            columns = ", ".join(self.columns)
            raise EmmsError(f"{self.name} has no column of {content}: {columns}", f"Name it {candidates[0]}.")
        return name

    def find(self, candidates: Sequence[str]) -> str | None:
        by_lower = {name.lower(): name for name in self.columns}
        return next((by_lower[name] for name in candidates if name in by_lower), None)


@dataclass(frozen=True)
class _Tables:
    """The tables of queries, documents and judgments; `opened` is the split of the judgments."""

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
    if isinstance(source.data, Mapping):
        tables = _in_memory(source, options)
    elif source.repo.folder is not None and (files := _table_files(source.repo.folder)):
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
        notes=(*tables.opened.notes, *tables.queries.notes, *tables.corpus.notes, *tables.judgments.notes),
    )


def _columns(task: Task, named: Mapping[str, str], tables: _Tables) -> dict[str, str]:
    """Return role → columns: the named ones, else those with usual names; without grades if there are none."""
    query, document = task.inputs[0].name, task.label.name
    relevance = next(column.name for column in task.beside if "integer" in column.types)
    table_of = {query: tables.queries, document: tables.corpus, relevance: tables.judgments}
    for role, names in named.items():
        if role not in table_of:
            raise EmmsError(f"Tables of queries, documents and judgments have no {role}.", "Remove it.")
        missing = [name for name in names.split(",") if name not in table_of[role].columns]
        if missing:
            columns = ", ".join(table_of[role].columns)
            raise EmmsError(f"{table_of[role].name} has no column {missing[0]!r}: {columns}", use_column(role))
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
            raise EmmsError(f"Row {number:,} of {table.name} has {problem}.", "Give every row an id.") from None
        texts = (str(value).strip() for column in columns if (value := row.get(column)) is not None)
        yield key, " ".join(filter(None, texts))


# ---- datasets --------------------------------------------------------------------------------------------------------


def _dataset_table(name: str, splits: Sequence[OpenSplit]) -> Table:
    """Return the table of the rows of all splits in turn; only a batch is in memory."""

    def rows() -> Iterator[_Row]:
        for split in splits:
            with translate_errors(split.name, split.repo, split.config):
                for batch in split.rows.with_format(None).iter(_BATCH):
                    for values in zip(*batch.values(), strict=True):
                        yield dict(zip(batch, values, strict=True))

    return Table(name, tuple(splits[0].rows.features), rows)


def _of_split(name: str, judged: OpenSplit, open_split: Callable[[str | None], OpenSplit]) -> Table:
    """Return a table of queries or documents: the split of the judgments' name, or all splits of the table."""
    first = open_split(None)
    names = [judged.split] if judged.split in first.splits else list(first.splits)
    return _dataset_table(name, [open_split(split) for split in names] or [first])


def _in_memory(source: DatasetSource, options: SampleOptions) -> _Tables | None:
    """Return the tables of a dictionary with "corpus", "queries" and "qrels"."""
    data = {str(name).lower(): table for name, table in source.data.items()}
    queries, judgments = (
        next((data[name] for name in names if name in data), None) for names in (_QUERIES, _JUDGMENTS)
    )
    if _CORPUS not in data or queries is None or judgments is None:
        return None
    opened = open_memory(source.name, source.repo, judgments, source.split(options))

    def table(name: str, rows: Any) -> Table:
        return _of_split(name, opened, partial(open_memory, source.name, source.repo, rows))

    corpus = table("the corpus", data[_CORPUS])
    return _Tables(opened, table("the queries", queries), corpus, _dataset_table("the judgments", [opened]))


def _in_configurations(source: DatasetSource, options: SampleOptions) -> _Tables | None:
    """Return the tables of a repository's configurations, or of the folders of a folder; None without a corpus."""
    parts = _parts(_configuration_names(source), source.config)
    if parts is None:
        return None
    corpus, queries, judgments = parts
    beside = source if judgments is not None else _repository_of_judgments(source)
    streaming = source.is_streamed(options)
    opened = beside.files_of(judgments).open(source.split(options), streaming=streaming)
    choose_split(source.name, opened.splits, source.split(options))
    judged = _dataset_table(f"the configuration {judgments}" if judgments else beside.repo.id, [opened])
    if judged.find(_QUERY_IDS) is None and judgments == _JUDGMENTS[0]:
        return None  # rows of another kind
    notes = (*opened.notes, *beside.notes)
    opened = replace(opened, name=source.name, repo=source.repo, config=source.config, notes=notes)

    def table(config: str) -> Table:
        files = source.files_of(config)
        return _of_split(f"the configuration {config}", opened, lambda split: files.open(split, streaming=streaming))

    return _Tables(opened, table(queries), table(corpus), judged)


def _configuration_names(source: DatasetSource) -> set[str]:
    folder = source.repo.folder
    if folder is not None:
        folders = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
        if _CORPUS in folders or not folder.is_dir():
            return folders
    return set(source.configurations)


def _parts(names: set[str], config: str | None) -> tuple[str, str, str | None] | None:
    """Return the configurations of documents, queries and judgments; the last may be in another repository."""
    languages = sorted(name.removesuffix(f"-{_CORPUS}") for name in names if name.endswith(f"-{_CORPUS}"))
    languages = [language for language in languages if config in (None, language)]
    if _CORPUS in names and (config is None or config in _JUDGMENTS):
        language = prefix = ""
    elif len(languages) > 1:
        raise ConfigurationError(
            f"There is a corpus for each of {', '.join(languages)}.", setting_ref("config", *languages)
        )
    elif languages:
        (language,) = languages
        prefix = f"{language}-"
    else:
        return None
    queries = next((prefix + name for name in _QUERIES if prefix + name in names), None)
    if queries is None:
        return None
    usual = (config,) if config in _JUDGMENTS else (*(prefix + name for name in _JUDGMENTS), language)
    return prefix + _CORPUS, queries, next((name for name in usual if name in names), None)


def _repository_of_judgments(source: DatasetSource) -> DatasetSource:
    """Return the dataset with -qrels after its name, which contains the judgments of a BEIR dataset."""
    if source.repo.folder is not None:
        raise _no_judgments(source)
    try:
        repo = resolve(f"{source.repo.id}-qrels", "dataset")
    except RepoNotFoundError as error:
        raise _no_judgments(source) from error
    note = Note("judgments-repository", f"Judgments from {repo.id} at {repo.revision[:7]}.")
    return DatasetSource(source.name, repo, notes=(*source.notes, note))


def _no_judgments(source: DatasetSource) -> EmmsError:
    return EmmsError(
        f"{source.name!r} has queries and a corpus, but no relevance judgments.",
        "Add qrels/train.tsv, or a configuration qrels, with the columns query-id, corpus-id and score.",
    )


# ---- folders of files ------------------------------------------------------------------------------------------------


def _table_files(folder: Path) -> dict[str, Path]:
    """Return the files of a corpus and of queries by these names; empty unless both are there."""
    files = {path.name.partition(".")[0].lower(): path for path in sorted(folder.glob("*")) if reader_of(path)}
    queries = next((files[name] for name in _QUERIES if name in files), None)
    return {_CORPUS: files[_CORPUS], _QUERIES[0]: queries} if _CORPUS in files and queries is not None else {}


def _in_folder(source: DatasetSource, options: SampleOptions, files: Mapping[str, Path]) -> _Tables:
    """Return the tables of a BEIR folder: corpus.jsonl, queries.jsonl, and qrels with a file per split."""
    folder = source.repo.folder
    assert folder is not None
    inside = sorted((folder / "qrels").glob("*")) or sorted(folder.glob("qrels*"))
    by_split = {path.name.partition(".")[0]: path for path in inside if reader_of(path)}
    if not by_split:
        raise _no_judgments(source)
    splits = tuple(by_split)
    split, notes = choose_split(source.name, splits, source.split(options))
    opened = OpenSplit(source.name, source.repo, source.config, split, None, None, splits, notes)
    table = partial(_file_table, source, folder)
    return _Tables(opened, table(files[_QUERIES[0]]), table(files[_CORPUS]), table(by_split[split]))


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
    return _dataset_table(name, [opened])


def _csv_table(name: str, path: Path) -> Table:
    """Return the table of a file separated by tabs, commas or spaces, with or without a line of names."""

    def rows(names: Sequence[str], first: int = 0) -> Iterator[_Row]:
        for cells in islice(csv_rows(path), first, None):
            yield dict(zip(names, cells[0].split() if len(cells) == 1 else cells, strict=False))

    header = next(csv_rows(path), None)
    if header is None:
        raise EmmsError(f"{name} is empty.", "It requires a row per judgment: query-id, corpus-id, score")
    names = tuple(map(str.strip, header[0].split() if len(header) == 1 else header))
    if {*map(str.lower, names)} & {*_IDS, *_QUERY_IDS}:
        return Table(name, names, partial(rows, names, 1))
    usual = next((usual for usual in _HEADERS if len(usual) == len(names)), None)
    if usual is None:
        raise EmmsError(
            f"{name} has {len(names)} columns, but no line of names.", "Add one: query-id, corpus-id, score"
        )
    note = Note("no-line-of-names", f"{name} has no line of names. Reading its columns as {', '.join(usual)}.")
    return Table(name, usual, partial(rows, usual), (note,))
