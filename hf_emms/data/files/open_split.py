"""Open a split of a dataset with ``datasets``: from the Hub, a folder, a file or memory, or as a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from hf_emms.data.files.limits import check_archive, check_table, check_tables
from hf_emms.data.files.lines import QUOTES, UTF_8
from hf_emms.data.files.local import (
    MEDIA,
    READABLE,
    LocalFiles,
    card_names_files,
    describe,
    find_local,
    reader_of,
    walk,
)
from hf_emms.data.files.memory import are_splits, as_dataset
from hf_emms.data.files.tables import split_of
from hf_emms.data.files.zip_folder import is_zip, unpacked
from hf_emms.errors import EmmsError, Note
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo, repo_url, retried, translate_hub_errors
from hf_emms.inputs import UnusableError
from hf_emms.options import SampleOptions
from hf_emms.texts import Text, setting_ref

SPLIT_ORDER = ("train", "training", "validation", "valid", "val", "dev", "test", "testdev")
# Rows in the shuffle buffer of a stream, and one further row for so many, because some may be skipped.
_BUFFER, _SPARE = 500, 10
# Bytes that fsspec reads ahead; its default of 5 MiB exceeds most columns of a row group.
_BLOCK = 1 << 20
# Types of polars for which Arrow has few functions → equivalent types.
_VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}
_GENERATING = "An error occurred while generating the dataset"
_NO_ROWS_HINT = "choose another file or " + setting_ref("split", ...) + ""
_CONVERTED = "refs/convert/parquet"
_SCRIPT_HINT = (
    f"choose a dataset with parquet, JSON or CSV files. Instead of a loading script, try ORG/NAME@{_CONVERTED}"
)
_USUAL_HINT = (
    "Check that its files are complete and have the same columns, or choose another "
    + setting_ref("config")
    + " or "
    + setting_ref("split")
    + "."
)
# A part of an error of ``datasets`` or pandas → what to do.
_HINTS: Mapping[str, str | Text] = {
    "script": _SCRIPT_HINT,
    "codec can't decode": UTF_8,
    "tokenizing": QUOTES,
    "Permission denied": "Make it readable (chmod -R u+rX FOLDER), or remove it from the folder.",
    "No space left": "Free some space, or set HF_HOME to a folder on another disk.",
}
# Suffixes of files that ``datasets`` unpacks.
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class ConfigurationError(EmmsError):
    """The dataset lacks this configuration, or has several and none is named."""


@dataclass(frozen=True)
class OpenSplit:
    """An open split of a dataset.

    Attributes:
        name: The dataset as the user typed it.
        repo: The repository; its revision is empty for a dataset in memory.
        rows: A ``datasets.Dataset``; for streams, the first rows.
        total: Number of rows of the split; None if it is unknown.
        splits: The names of all splits.
        file: The name of the only file of the split; None if there are several, or for streams.
        joined: Column of ids → the images of another configuration.
        folders: The folders from which relative paths in columns may start.
        media_folder: A folder of media that a table refers to by their file names.
    """

    name: str
    repo: Repo
    config: str | None
    split: str
    rows: Any
    total: int | None
    splits: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    file: str | None = None
    joined: Mapping[str, JoinedImages] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    media_folder: Path | None = None

    def select(self, columns: Sequence[str]) -> Any:
        """Return rows with these columns and encoded media, without a format."""
        return _encoded(self.rows.with_format(None).select_columns(list(columns)))


def _encoded(rows: Any) -> Any:
    for name, feature in (rows.features or {}).items():
        encoded = _undecoded(feature)
        if encoded != feature:
            rows = rows.cast_column(name, encoded)
    return rows


class JoinedImages:
    """A mapping from an id to the encoded image of the row with this id in column `key`."""

    def __init__(self, split: OpenSplit, key: str, image: str) -> None:
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
        builder: A builder of ``datasets`` for all splits, for datasets of the Hub or with a card.
        local: The files of other local datasets.
        folder: The folder or file of a local dataset.
    """

    name: str
    repo: Repo
    config: str | None
    builder: Any = None
    local: LocalFiles = field(default_factory=LocalFiles)
    folder: Path | None = None

    def open(self, split: str | None, stream: SampleOptions | None = None) -> OpenSplit:
        """Open a split, by default a training split if there is one.

        `stream` are the options of a sample that is drawn from the first rows of a stream.
        """
        with translate_errors(self.name, self.repo, self.config):
            splits = tuple(self.local.splits)
            if self.builder is not None:
                splits = tuple(map(str, self.builder.config.data_files or self.builder.info.splits or {}))
            split, notes = choose_split(self.name, splits, split)
            notes = (*notes, *self.local.notes)
            opened = OpenSplit(self.name, self.repo, self.config, split, None, None, splits, notes)
            if self.folder is not None:
                opened = self._with_folders(opened)
            if split in self.local.tables:
                rows = self.local.tables[split]
                return replace(opened, rows=rows, total=rows.num_rows)
            builder = self.builder if self.builder is not None else self.local.builder(split, self.repo.revision)
            _keep_audio_encoded(builder)
            if stream is not None:
                total = getattr((builder.info.splits or {}).get(split), "num_examples", None) or None
                opened = replace(opened, rows=builder.as_streaming_dataset(split=split), total=total)
                opened = first_rows(opened, stream)
            else:
                downloads = None if self.builder is None else _checked_downloads(builder)
                retried(lambda: builder.download_and_prepare(dl_manager=downloads))
                rows = builder.as_dataset(split=split)
                opened = replace(opened, rows=rows, total=rows.num_rows)
            self._check_labels(opened)
            return replace(opened, notes=(*opened.notes, *self._unlisted(opened)))

    def _unlisted(self, opened: OpenSplit) -> Iterator[Note]:
        """Yield a note if a metadata file does not list all images or sounds of a split."""
        files = self.local.splits.get(opened.split, ())
        media = [file for file in files if reader_of(file) in MEDIA]
        if self.local.reader in MEDIA and len(media) < len(files) and (missing := len(media) - (opened.total or 0)) > 0:
            name = next(file.name for file in files if reader_of(file) not in MEDIA)
            yield Note("files-not-read", f"{missing:,} of {pluralize(len(media), 'file')} have no line in {name}")

    def _check_labels(self, opened: OpenSplit) -> None:
        """Raise an `EmmsError` for images or sounds without other columns."""
        names = {*opened.rows.features} - {"__key__", "__url__"}
        if self.folder is None or len(names) > 1:
            return
        if self.local.reader in MEDIA:
            raise _no_labels(self.name, self.folder)
        if self.local.reader == "webdataset" and reader_of(Path("a." + names.pop())) in MEDIA:
            problem = f"the images or sounds of {self.name!r} have no labels"
            raise EmmsError("no-labels", problem, "if its folders are classes, unpack it, and name the folder")

    def _with_folders(self, opened: OpenSplit) -> OpenSplit:
        assert self.folder is not None
        files = self.local.splits.get(opened.split, ())
        if self.builder is not None:
            files = [Path(file) for file in self.builder.config.data_files.get(opened.split, ())]
        folders = dict.fromkeys([self.folder, *(file.parent for file in files)])
        return replace(
            opened,
            file=files[0].name if len(files) == 1 else None,
            folders=tuple(folder for folder in folders if folder.is_dir()),
            media_folder=self.local.media_folder,
        )


def _no_labels(name: str, folder: Path) -> EmmsError:
    """Return the error for media without labels, such as those of a folder and of its copy inside it."""
    splits = (path for path in folder.rglob("*") if path.is_dir() and split_of(path.name))
    of_classes = {split.parent for split in splits if any(path.is_dir() for path in split.iterdir())}
    copies = sorted(map(str, of_classes - {folder}))
    hint = "name one of its folders: " + setting_ref("dataset", *copies) if copies else READABLE
    return EmmsError("no-labels", f"{name!r} contains {describe(walk(folder))}, but no labels", hint)


def find_files(name: str, repo: Repo, config: str | None) -> DatasetFiles:
    """Return the files of a Hub dataset, a folder or a file.

    Raises:
        EmmsError: The files cannot be read as a dataset.
    """
    import datasets

    with translate_errors(name, repo, config):
        folder = repo.folder
        if folder is None:
            # The Hub's copy of a dataset with a loading script has a folder per configuration.
            part = {"data_dir" if name.endswith(f"@{_CONVERTED}") else "name": config}
            return DatasetFiles(name, repo, config, _hub_builder(repo, part))
        if is_zip(folder):
            folder = unpacked(folder, repo.revision)
        check_tables(folder)
        if folder.is_dir() and card_names_files(folder):
            return DatasetFiles(name, repo, config, datasets.load_dataset_builder(str(folder), config), folder=folder)
        if config:
            raise EmmsError(
                "no-configurations",
                f"{name!r} has no configurations, such as {config!r}",
                "remove " + setting_ref("config"),
            )
        return DatasetFiles(name, repo, config, local=find_local(folder), folder=folder)


def open_memory(name: str, repo: Repo, dataset: Any, split: str | None, options: SampleOptions) -> OpenSplit:
    """Open data in memory; the keys of a dictionary of tables are the splits."""
    import datasets

    notes, splits = tuple[Note, ...](), tuple[str, ...]()
    if isinstance(dataset, Mapping) and are_splits(dataset):
        splits = tuple(map(str, dataset))
        if not splits:
            raise EmmsError("no-rows", f"the {type(dataset).__name__} has no split", "pass a dataset with rows")
        split, notes = choose_split(name, splits, split)
        dataset = dict(zip(splits, dataset.values(), strict=True))[split]
    rows = as_dataset(dataset)
    opened = OpenSplit(name, repo, None, str(rows.split or split or "all"), rows, None, splits, notes)
    if isinstance(rows, datasets.Dataset):
        return replace(opened, total=rows.num_rows)
    with translate_errors(name, repo, None):
        return first_rows(opened, options)


def first_rows(split: OpenSplit, options: SampleOptions) -> OpenSplit:
    """Replace a stream by its first rows after shuffling; ``datasets`` caches them unless the stream is in memory."""
    import datasets

    if options.max_samples is None:
        raise EmmsError(
            "stream-without-limit",
            "a stream requires a number of rows",
            "add " + setting_ref("max_samples", 1000) + ", or remove " + setting_ref("streaming") + "",
        )
    count = options.max_samples + options.max_samples // _SPARE + 1
    stream = _encoded(split.rows).shuffle(seed=options.seed, buffer_size=min(_BUFFER, 20 * count)).take(count)
    if split.repo.revision:
        identity = [split.repo.id, split.repo.revision, split.config, split.split, options.seed, count]
        fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        rows = datasets.Dataset.from_generator(stream.__iter__, features=stream.features, fingerprint=fingerprint)
    else:
        rows = datasets.Dataset.from_list(list(stream), features=stream.features)
    if not len(rows):
        raise EmmsError("no-rows", f"{split.name!r} has no rows in this split", _NO_ROWS_HINT)
    text = f"drawn from the first {pluralize(len(rows), 'row')} of a shuffled stream, not from the whole split"
    return replace(split, rows=rows, file=None, notes=(*split.notes, Note("streamed", text)))


def choose_split(dataset: str, splits: Sequence[str], asked: str | None) -> tuple[str, tuple[Note, ...]]:
    """Return the named split, or the split that a checkpoint would be fine-tuned on, with a note."""
    if asked is not None:
        if asked not in splits:
            raise EmmsError("unknown-split", f"{dataset!r} has no split {asked!r}", setting_ref("split", *splits))
        return asked, ()
    chosen = next((name for usual in SPLIT_ORDER for name in splits if name.lower() == usual), splits[0])
    note = Note("split-chosen", f'using split "{chosen}" (available: {", ".join(splits)})')
    return chosen, (note,) if len(splits) > 1 else ()


@contextmanager
def translate_errors(dataset: str, repo: Repo, config: str | None) -> Iterator[None]:
    """Turn errors of ``datasets`` and the Hub inside the block into an `EmmsError` with a hint."""
    import datasets
    from datasets.data_files import EmptyDatasetError

    on_hub = translate_hub_errors(repo.id, repo.kind, repo.revision) if repo.folder is None else nullcontext()
    try:
        with on_hub:
            yield
    except EmmsError:
        raise
    except (EmptyDatasetError, datasets.exceptions.DataFilesNotFoundError) as error:
        raise EmmsError("no-data-files", f"{dataset!r} contains no data file that can be read", _SCRIPT_HINT) from error
    # Files that others wrote: the parsers raise errors of many types, such as StopIteration and TypeError.
    except Exception as error:
        raise reading_error(error, dataset, config) from error


def reading_error(error: Exception, dataset: str, config: str | None) -> EmmsError:
    """Return the error for an exception of a library that reads a dataset, with a hint."""
    root = error.__cause__ or error
    text = f"{error} {root}"
    if isinstance(error, ValueError) and "config" in str(error).lower():
        problem = f"has no configuration {config!r}" if config else "has several configurations"
        return ConfigurationError(
            "unknown-configuration",
            f"{dataset!r} {problem}: {' '.join(str(error).split())}",
            setting_ref("config", ...),
        )
    if "corresponds to no data" in text or "at least one example" in text:
        return EmmsError("no-rows", f"{dataset!r} has no rows in this split", _NO_ROWS_HINT)
    hint = next((hint for part, hint in _HINTS.items() if part in text), _USUAL_HINT)
    if "gated" in text:
        hint = f"accept its terms at {repo_url(dataset.partition('@')[0], 'dataset')}, then log in: hf auth login"
    elif isinstance(error, ConnectionError):
        hint = "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER"
    reason = (str(root).strip() or type(root).__name__).removeprefix(_GENERATING).strip().splitlines()[0]
    return EmmsError("cannot-read-dataset", f"{dataset!r} cannot be read: {reason}", hint)


def configuration_names(repo: Repo) -> list[str]:
    """Return the names of the configurations of a dataset's repository or folder."""
    import datasets

    if repo.folder is not None:
        with translate_errors(str(repo.folder), repo, None):
            return datasets.get_dataset_config_names(str(repo.folder)) if card_names_files(repo.folder) else []
    return retried(lambda: datasets.get_dataset_config_names(repo.id, revision=repo.revision))


def _checked_downloads(builder: Any) -> Any:
    """Return a download manager of ``datasets`` that checks files before it unpacks or reads them."""
    import datasets

    def paths_in(nested: Any) -> Iterator[Path]:
        return map(Path, datasets.utils.py_utils.NestedDataStructure(nested).flatten())

    class CheckedDownloads(datasets.DownloadManager):
        def download(self, url_or_urls: Any) -> Any:
            downloaded = super().download(url_or_urls)
            for path in paths_in(downloaded):
                check_table(path)
            return downloaded

        def extract(self, path_or_paths: Any) -> Any:
            for path in paths_in(path_or_paths):
                if path.name.lower().endswith(_ARCHIVES):
                    check_archive(path)
            return super().extract(path_or_paths)

    settings = datasets.DownloadConfig(use_etag=False, token=builder.token, storage_options=builder.storage_options)
    return CheckedDownloads(builder.dataset_name, download_config=settings, base_path=builder.base_path)


def _hub_builder(repo: Repo, part: Mapping[str, str | None]) -> Any:
    import datasets

    latest, options = None, {"hf": {"block_size": _BLOCK}}
    try:
        latest = retried(
            lambda: datasets.load_dataset_builder(repo.id, revision=repo.revision, storage_options=options, **part)
        )
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
    raise EmmsError(
        "not-cached",
        f"dataset {repo.id!r} at {repo.revision!r} is a loading script, or is not in the local cache",
        "run once online, or name another revision: "
        + setting_ref("dataset", "ORG/NAME@REVISION", f"ORG/NAME@{_CONVERTED}"),
    )


@cache
def _encoded_audio() -> type:
    """Return a type for encoded sounds; the type of ``datasets`` requires a package that decodes."""
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
    """Make the builder of a folder of sounds, or of a webdataset, store their encoded bytes."""
    import datasets

    if hasattr(builder, "AUDIO_EXTENSIONS"):
        builder.AUDIO_EXTENSIONS = []
    if getattr(builder, "BASE_FEATURE", None) == datasets.Audio:
        builder.BASE_FEATURE = _encoded_audio()
        features = builder.info.features or {}
        for name in [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]:
            features[name] = _encoded_audio()()


def _undecoded(feature: Any) -> Any:
    """Return the type of a column that leaves images and sounds encoded."""
    import datasets

    if isinstance(feature, datasets.Audio):
        return _encoded_audio()(decode=False)
    if (dtype := getattr(feature, "dtype", "")) in _VIEWS:
        return datasets.Value(_VIEWS[dtype])
    if getattr(feature, "decode", False) and not isinstance(feature, datasets.Json):
        return replace(feature, decode=False)
    if isinstance(feature, Mapping):
        return {name: _undecoded(field) for name, field in feature.items()}
    element = getattr(feature, "feature", None)
    encoded = element and _undecoded(element)
    return feature if encoded == element else datasets.List(encoded)
