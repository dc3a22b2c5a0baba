"""Opening a split of a dataset with ``datasets``: from the Hub, a folder, a file or memory; or as a stream."""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from hf_emms.data.files.archives import ARCHIVES, archive_in, unpacked
from hf_emms.data.files.folder_names import check_class_folders, check_copies, patterns_of_splits
from hf_emms.data.files.local import (
    FORMATS,
    PANDAS_INDEX,
    QUOTES,
    broken_file,
    csv_settings,
    more_cells,
    notes_on_undescribed,
    notes_on_unused,
    remedy_for,
    unread_files,
    walk,
)
from hf_emms.data.files.media import table_of_media
from hf_emms.data.files.memory import are_splits, as_dataset
from hf_emms.data.files.tables import SHEETS, Tables, builder_arguments, read_tables
from hf_emms.errors import EmmsError, Text, setting_ref
from hf_emms.hub import Repo, listing, repo_url, retried, translate_hub_errors
from hf_emms.inputs import UnusableError

SPLIT_ORDER = ("train", "training", "validation", "valid", "val", "dev", "test", "testdev")
_FIRST_ROWS = 100
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
# Bytes that fsspec reads ahead of a stream; its default of 5 MiB is more than most columns of a row group.
_BLOCK = 1 << 20
# Types of polars for which Arrow has few functions → those that are read instead.
_VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}
_GENERATING = "An error occurred while generating the dataset"
_REMEDIES_OF_FILES = {
    ".txt": "name a table .csv or .tsv; put texts in a folder for each class; CoNLL's lines are a word and its tags",
    **dict.fromkeys((".pkl", ".pickle"), "save tables as .parquet or .csv: pandas.read_pickle(...).to_parquet(...)"),
}
_SCRIPT_HINT = "loading scripts no longer run; try @refs/convert/parquet behind the id"


class ConfigurationError(EmmsError):
    """Raised for a configuration that a dataset lacks, or none where it has several; `names`, if they can be told."""

    names: tuple[str, ...] = ()


class NoReadableFileError(EmmsError):
    """Raised for a repository that holds a loading script, or no data at all."""


@dataclass(frozen=True)
class OpenSplit:
    """An open split of a dataset.

    Attributes:
        name: the dataset as the user typed it.
        repo: the repository; its revision is still empty for a dataset in memory.
        rows: a ``datasets.Dataset``, or an ``IterableDataset`` when streaming.
        total: rows of the split; None where the number is unknown.
        splits: the names of all splits.
        builder: the builder of ``datasets`` that reads a stream.
        file: the name of the only file of the split; None where there are several.
        joined: column of ids → the images of another configuration.
        folders: that relative paths in its columns may start from.
        media_folder: a folder of pictures that a table beside it describes.
    """

    name: str
    repo: Repo
    config: str | None
    split: str
    rows: Any
    total: int | None
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    builder: Any = None
    file: str | None = None
    joined: Mapping[str, JoinedImages] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    media_folder: Path | None = None

    @property
    def streaming(self) -> bool:
        return not hasattr(self.rows, "num_rows")

    def select(self, columns: Sequence[str]) -> Any:
        """Return the rows with only these columns, media encoded, no format set; streamed parquet reads no others."""
        rows = self.rows
        if self.builder is not None and hasattr(self.builder.config, "columns"):
            self.builder.config.columns = list(columns)
            rows = self.builder.as_streaming_dataset(split=self.split)
        rows = rows.with_format(None).select_columns(list(columns))
        for name, feature in rows.features.items():
            encoded = _undecoded(feature)
            if encoded != feature:
                rows = rows.cast_column(name, encoded)
        return rows


class JoinedImages:
    """A mapping from the ids in column `key` to the encoded images of a split that is no stream, read row by row."""

    def __init__(self, split: OpenSplit, key: str, image: str) -> None:
        names = split.rows.column_names
        if not {key, image} <= set(names):
            raise EmmsError(
                f"images are expected in the columns {key!r} and {image!r}; there are {', '.join(names)}",
                "name a folder that holds images and texts together: " + setting_ref("dataset", "./FOLDER"),
            )
        self._images = split.select([image])
        self._row_of = {id: row for row, id in enumerate(split.rows[key])}

    def __getitem__(self, id: Any) -> Any:
        if id not in self._row_of:
            raise UnusableError(f"there is no image with the id {id!r}")
        (image,) = self._images[self._row_of[id]].values()
        return image


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a configuration, from which its splits are opened.

    Attributes:
        builder: of ``datasets``; None where `tables` hold the rows.
        media_folder: the folder of pictures that the only file describes.
        tables: split → its rows, of files that no builder reads.
        archive: the archive's repository, which is `repo` otherwise.
    """

    name: str
    repo: Repo
    config: str | None
    builder: Any
    notes: tuple[str, ...] = ()
    media_folder: Path | None = None
    tables: Tables = field(default_factory=dict)
    archive: Repo | None = None

    def open(self, split: str | None, *, streaming: bool) -> OpenSplit:
        """Return the open split; where none is named, preferably a training split; a single split under any name."""
        opened = self._open_table(split, streaming) if self.tables else self._open(split, streaming)
        return replace(opened, repo=self.archive or self.repo, notes=(*opened.notes, *self.notes))

    def _open_table(self, split: str | None, streaming: bool) -> OpenSplit:
        path, splits = self.repo.folder, tuple(self.tables)
        assert path is not None
        split, notes = choose_split(self.name, splits, split if len(splits) > 1 else None)
        rows = self.tables[split]
        total, rows = rows.num_rows, rows.to_iterable_dataset() if streaming else rows
        file, folder = (path.name, path.parent) if path.is_file() else (None, path)
        opened = OpenSplit(self.name, self.repo, self.config, split, rows, total, splits, tuple(notes))
        return replace(opened, file=file, folders=(folder,))

    def _open(self, split: str | None, streaming: bool) -> OpenSplit:
        with translate_errors(self.name, self.repo, self.config):
            builder, repo = self.builder, self.repo
            _keep_audio_encoded(builder)
            files = {name: list(paths) for name, paths in (builder.config.data_files or {}).items()}
            splits = tuple(str(name) for name in files or builder.info.splits or {})
            split, notes = choose_split(self.name, splits, split if len(splits) > 1 else None)
            if repo.folder is not None and repo.folder.is_dir() and not self.config and self.media_folder is None:
                notes += notes_on_unused(repo.folder, [path for paths in files.values() for path in paths])
            opened = OpenSplit(self.name, repo, self.config, split, None, None, splits)
            if repo.folder is not None:
                folders = (repo.folder, *(Path(path).parent for path in files.get(split, ())))
                folders = tuple(folder for folder in folders if folder.is_dir())
                opened = replace(opened, folders=folders, media_folder=self.media_folder)
            if streaming:
                # Streams must not share settings, such as the columns that are read.
                builder = copy.copy(builder)
                builder.config = copy.copy(builder.config)
                rows = with_features(self.name, builder.as_streaming_dataset(split=split))
                notes += _check_rows(builder, files.get(split, ()), rows.features)
                total = getattr((builder.info.splits or {}).get(split), "num_examples", None) or None
                opened = replace(opened, rows=rows, total=total, builder=builder)
            else:
                retried(builder.download_and_prepare)
                rows = builder.as_dataset(split=split)
                notes += _check_rows(builder, files.get(split, ()), rows.features)
                notes += notes_on_undescribed(files.get(split, []), rows.num_rows)
                file = Path(files[split][0]).name if len(files.get(split, ())) == 1 else None
                opened = replace(opened, rows=rows, total=rows.num_rows, file=file)
        return replace(opened, notes=tuple(notes))


def find_files(name: str, repo: Repo, config: str | None, *, converted: bool = False) -> DatasetFiles:
    """Return the files of a Hub dataset, a folder or a file; the Hub's `converted` copy has a folder for each `config`.

    Raises:
        NoReadableFileError: it holds a loading script or nothing.
        EmmsError: it cannot be read as a dataset.
    """
    with translate_errors(name, repo, config):
        if repo.folder is None:
            return DatasetFiles(name, repo, config, _hub_builder(repo, config, converted))
        archive = archive_in(repo.folder)
        if archive is not None:
            content = replace(repo, folder=unpacked(archive, repo.revision))
            return replace(find_files(name, content, config), archive=repo)
        tables = read_tables(repo.folder) if config is None else None
        if tables is not None:
            return DatasetFiles(name, repo, config, None, tables[1], tables=tables[0])
        table = table_of_media(repo.folder) if repo.folder.is_dir() and config is None else None
        if table is None:
            return DatasetFiles(name, repo, config, _local_builder(repo, config))
        builder = _local_builder(replace(repo, folder=table), config)
        note = f"rows are read from {table.name}, their pictures by name from the folders beside it"
        return DatasetFiles(name, repo, config, builder, (note,), repo.folder)


def open_memory(name: str, repo: Repo, dataset: Any, split: str | None) -> OpenSplit:
    """Return the open split of data in memory, whose splits are the keys of a dictionary of tables."""
    import datasets

    notes, splits = list[str](), tuple[str, ...]()
    if isinstance(dataset, Mapping) and are_splits(dataset):
        splits = tuple(map(str, dataset))
        if not splits:
            raise EmmsError(f"the {type(dataset).__name__} has no split", "pass a dataset with rows")
        split, notes = choose_split(name, splits, split)
        dataset = dict(zip(splits, dataset.values(), strict=True))[split]
    dataset = as_dataset(dataset)
    total = dataset.num_rows if isinstance(dataset, datasets.Dataset) else None
    rows = dataset if total is not None else with_features(name, dataset)
    return OpenSplit(name, repo, None, str(dataset.split or split or "all"), rows, total, splits, tuple(notes))


def choose_split(dataset: str, splits: Sequence[str], asked: str | None) -> tuple[str, list[str]]:
    """Return the named split, or the split that a checkpoint would be fine-tuned on, and all splits."""
    if asked is not None:
        if asked not in splits:
            raise EmmsError(f"{dataset!r} has no split {asked!r}", setting_ref("split", *splits))
        return asked, []
    chosen = next((name for usual in SPLIT_ORDER for name in splits if name.lower() == usual), splits[0])
    return chosen, [f"split {chosen} chosen among {', '.join(splits)}"] * (len(splits) > 1)


@contextmanager
def translate_errors(dataset: str, repo: Repo, config: str | None) -> Iterator[None]:
    """Turn errors of ``datasets`` and the Hub inside the block into an EmmsError that tells the way out."""
    import datasets
    from datasets.data_files import EmptyDatasetError

    on_hub = translate_hub_errors(repo.id, repo.kind, repo.revision) if repo.folder is None else nullcontext()
    try:
        with on_hub:
            yield
    except EmmsError:
        raise
    except (EmptyDatasetError, datasets.exceptions.DataFilesNotFoundError) as error:
        on_disk = repo.folder is not None and repo.folder.is_dir()
        names, remedy = unread_files(repo.folder) if repo.folder is not None and on_disk else ("", None)
        usual = "put images in one folder per class, or parquet, json, jsonl, csv or tsv files"
        script = "; for a dataset with a loading script try @refs/convert/parquet behind its id"
        raise NoReadableFileError(
            f"{dataset!r} holds no data file that can be read{names}", remedy or usual + script * (not on_disk)
        ) from error
    # Files that others wrote: ``datasets`` raises whatever its parsers stumble over, StopIteration and TypeError too.
    except Exception as error:
        raise _explained(error, dataset, repo, config) from error


def _explained(error: Exception, dataset: str, repo: Repo, config: str | None) -> EmmsError:
    text = str(error)
    cache = _cache_problem(error)
    if cache is not None:
        return cache
    broken = broken_file(repo.folder) if repo.folder is not None else None
    if broken is not None and not (config and "not found" in text):
        return EmmsError(f"{dataset!r} cannot be read: {broken}", "repair that file, or take it out of the folder")
    if isinstance(error, ValueError) and "corresponds to no data" in text:
        return _no_rows(dataset)
    if isinstance(error, ValueError) and "don't belong to" in text:
        return EmmsError(
            f"{dataset!r} names files outside of its repository as its data",
            "only files of its own revision are read: name the dataset that holds them",
        )
    if isinstance(error, ValueError) and "config" in text.lower():
        asked = f"has no configuration {config!r}" if config else "has several configurations"
        return ConfigurationError(f"{dataset!r} {asked}: {' '.join(text.split())}", setting_ref("config", ...))
    hint: str | Text = (
        "check that its files are whole and of one layout, or name "
        + setting_ref("config")
        + " or another "
        + setting_ref("split")
    )
    if "gated" in text:
        hint = f"accept its terms at {repo_url(dataset.partition('@')[0], 'dataset')}, then log in: hf auth login"
    elif "script" in text:
        hint = _SCRIPT_HINT
    elif isinstance(error.__cause__, UnicodeDecodeError):
        hint = "save the file as UTF-8"
    elif isinstance(error, ConnectionError):
        hint = "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER"
    elif "tokenizing" in str(error.__cause__ or error):
        hint = QUOTES
    elif "must have the same columns" in text:
        hint = "give all files the same columns, or name one of them: " + setting_ref("dataset", "./FILE")
    root = error.__cause__ or error
    reason = (str(root).strip() or type(root).__name__).removeprefix(_GENERATING).strip().splitlines()[0]
    if not isinstance(error, (OSError, RuntimeError, ValueError)) and root is error:
        reason = f"{type(root).__name__}: {reason}"
    kind = NoReadableFileError if "script" in text else EmmsError
    return kind(f"{dataset!r} cannot be read: {reason}", hint)


def _cache_problem(error: BaseException | None) -> EmmsError | None:
    """Return the error of a full or read-only cache folder of ``datasets`` or the Hub; None for other errors."""
    from datasets import config
    from huggingface_hub import constants

    caches = [str(config.HF_DATASETS_CACHE), str(constants.HF_HUB_CACHE), str(constants.HF_HOME)]
    while error is not None:
        if isinstance(error, OSError):
            inside = [cache for cache in caches if str(error.filename).startswith(cache)]
            if error.errno == errno.ENOENT:  # a folder above it cannot be made
                inside = [cache for cache in caches if Path(str(error.filename)) in (Path(cache), *Path(cache).parents)]
            full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "Not enough disk space" in str(error)
            if full or (inside and error.errno in (*_NOT_WRITABLE, errno.ENOENT)):
                return EmmsError(
                    f"the cache {(inside or caches)[0]} cannot be written: {error.strerror or error}",
                    "free some space, or name a folder that can be written: HF_HOME=/FOLDER hf-emms …",
                )
        error = error.__cause__ or error.__context__
    return None


def _no_rows(dataset: str) -> EmmsError:
    return EmmsError(
        f"{dataset!r} has no rows in this split: a line of column names alone is no data",
        "another file or " + setting_ref("split", ...),
    )


def configuration_names(repo: Repo) -> list[str]:
    """Return the names of the configurations of a dataset's repository or folder."""
    import datasets

    if repo.folder is not None:
        return datasets.get_dataset_config_names(str(repo.folder))
    return retried(lambda: datasets.get_dataset_config_names(repo.id, revision=repo.revision))


def _local_builder(repo: Repo, config: str | None) -> Any:
    import datasets

    folder = repo.folder
    assert folder is not None
    arguments: dict[str, Any]
    if folder.is_file() and config:
        problem = f"a file has no configurations: {repo.id!r} and " + setting_ref("config", config)
        raise EmmsError(problem, "leave " + setting_ref("config") + " out")
    if config and (folder / config).is_dir() and not (folder / "README.md").exists():
        # A folder in the Hub's layout may have a folder for each configuration, without a README that says so.
        arguments = {"path": str(folder / config)}
    elif (of_format := builder_arguments(folder)) is not None:
        arguments = of_format
    elif folder.is_file():
        formats = f"known are: {', '.join(sorted({*FORMATS, *SHEETS, *ARCHIVES}))}"
        hint = _REMEDIES_OF_FILES.get(folder.suffix.lower()) or remedy_for([folder.name]) or formats
        raise EmmsError(f"the file {repo.id!r} is not of a known format", hint)
    else:
        check_copies(walk(folder))
        arguments = {"path": str(folder), "name": config, "data_files": patterns_of_splits(folder)}
    if arguments["path"] == "csv" and ".tsv" in folder.name.lower():
        arguments["sep"] = "\t"
    builder = datasets.load_dataset_builder(**arguments)
    if not hasattr(builder.config, "keep_default_na"):
        return builder
    paths = [path for paths in builder.config.data_files.values() for path in paths]
    return datasets.load_dataset_builder(**arguments | csv_settings(paths, builder.config.sep))


def _hub_builder(repo: Repo, config: str | None, converted: bool) -> Any:
    import datasets

    part: dict[str, Any] = {"data_dir": config} if converted and config else {"name": config}
    part["storage_options"] = {"hf": {"block_size": _BLOCK}}
    latest = None
    try:
        latest = retried(lambda: datasets.load_dataset_builder(repo.id, revision=repo.revision, **part))
    except ValueError as error:
        if "Couldn't find cache" not in str(error):
            raise
    if latest is not None and latest.hash == repo.revision:
        return latest
    # After any failure, ``datasets`` takes the latest copy in its cache, whatever its revision.
    if latest is not None:
        pinned = type(latest)(
            dataset_name=latest.dataset_name,
            config_name=latest.config.name,
            version=str(latest.config.version),
            hash=repo.revision,
            repo_id=repo.id,
        )
        if Path(pinned.cache_dir).is_dir():
            return pinned
    if f"{repo.id.rpartition('/')[2]}.py" in listing(repo):
        raise NoReadableFileError(f"{repo.id!r} is a loading script, which no longer runs", _SCRIPT_HINT)
    raise EmmsError(
        f"dataset {repo.id!r} at {repo.revision!r} is not in the local cache (another revision is)",
        "run once online, or name the cached revision: " + setting_ref("dataset", "ORG/NAME@REVISION"),
    )


def _check_rows(builder: Any, files: Sequence[str], features: Mapping[str, Any]) -> list[str]:
    """Return notes on folders of classes; refuse folders that are none, and CSV with more cells than names."""
    if hasattr(builder.config, "keep_default_na") and any(name.startswith(PANDAS_INDEX) for name in features):
        raise more_cells(" and ".join(sorted({Path(file).name for file in files})[:3]))
    classes = getattr(features.get("label"), "names", None) if hasattr(builder, "BASE_FEATURE") else None
    if not classes or any(Path(file).name in builder.METADATA_FILENAMES for file in files):
        return []
    return check_class_folders(files, classes)


def with_features(name: str, rows: Any) -> Any:
    """Return a stream with column types, which for json, csv and generators are taken from the first rows."""
    if rows.features is not None:
        return rows
    import datasets

    first = list(rows.take(_FIRST_ROWS))
    if not first:
        raise _no_rows(name)
    return rows.cast(datasets.Dataset.from_list(first).features)


@cache
def _encoded_audio() -> type:
    """Return a type for encoded sounds: the type of ``datasets`` needs a package that decodes."""
    import datasets

    class EncodedAudio(datasets.Audio):
        def encode_example(self, value: Any) -> dict[str, Any]:
            if isinstance(value, Mapping):
                return {"bytes": value.get("bytes"), "path": value.get("path")}
            return (
                {"bytes": None, "path": str(value)} if isinstance(value, (str, Path)) else super().encode_example(value)
            )

    return EncodedAudio


def _keep_audio_encoded(builder: Any) -> None:
    """Make the builder of a folder of sounds write them encoded as they are."""
    import datasets

    if getattr(builder, "BASE_FEATURE", None) == datasets.Audio:
        builder.BASE_FEATURE = _encoded_audio()
        features = builder.info.features or {}
        for name in [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]:
            features[name] = _encoded_audio()()


def _undecoded(feature: Any) -> Any:
    """Return the type with images and sounds left encoded, and texts as all functions of Arrow read them."""
    import datasets

    if isinstance(feature, datasets.Audio):
        return _encoded_audio()(decode=False)
    if (dtype := getattr(feature, "dtype", "")) in _VIEWS:
        return datasets.Value(_VIEWS[dtype])
    if getattr(feature, "decode", False) and getattr(feature, "_type", "") != "Json":
        return replace(feature, decode=False)
    if isinstance(feature, Mapping):
        return {name: _undecoded(field) for name, field in feature.items()}
    element = getattr(feature, "feature", None)
    encoded = element and _undecoded(element)
    return feature if encoded == element else datasets.List(encoded)
