"""Opens a dataset with ``datasets`` and picks its split: from the Hub, a folder, a file or memory; or as a stream."""

from __future__ import annotations

import errno
import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_emms.data.local_files import FORMATS, broken_file, notes_on_undescribed, notes_on_unused, texts_as_they_are
from hf_emms.errors import EmmsError
from hf_emms.hub import Repo, limited_streaming, listing, page, retried, translate_hub_errors
from hf_emms.inputs import UnusableError

SPLIT_ORDER = ("train", "training", "validation", "valid", "val", "dev", "test", "testdev")
_FIRST_ROWS = 100
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_HOLE, _RANGE = 1 << 16, 1 << 22
_SCRIPT_HINT = "loading scripts no longer run; try @refs/convert/parquet behind the id"


class NoReadableFileError(EmmsError):
    """The repository holds nothing that ``datasets`` reads: a loading script, or no data at all."""


@dataclass(frozen=True)
class Source:
    """One split of a dataset, open.

    Attributes:
        name: the dataset as the user typed it.
        repo: the repository; its revision is still empty for a dataset in memory.
        config: the configuration that was asked for.
        split: the split.
        rows: a ``datasets.Dataset``, or an ``IterableDataset`` when streaming.
        total: rows of the split, where known.
        notes: what was chosen for the user, in words.
        builder: what ``datasets`` reads a stream with.
        joined: column of ids → the images of another configuration, by id.
        file: the only file of the split, in words; None where there are several.
        splits: the names of all splits.
    """

    name: str
    repo: Repo
    config: str | None
    split: str
    rows: Any
    total: int | None
    notes: list[str] = field(default_factory=list)
    builder: Any = None
    joined: dict[str, JoinedImages] = field(default_factory=dict)
    file: str | None = None
    splits: tuple[str, ...] = ()

    @property
    def streaming(self) -> bool:
        return not hasattr(self.rows, "num_rows")

    def select(self, columns: Sequence[str]) -> Any:
        """The rows with these columns alone, images encoded, no format set; of streamed parquet no other is read."""
        rows = self.rows
        if self.builder is not None and hasattr(self.builder.config, "columns"):
            self.builder.config.columns = list(columns)
            rows = self.builder.as_streaming_dataset(split=self.split)
        rows = rows.with_format(None).select_columns(list(columns))
        for name in columns:
            encoded = _undecoded(rows.features[name])
            if encoded != rows.features[name]:
                rows = rows.cast_column(name, encoded)
        return rows

    def translate_errors(self) -> AbstractContextManager[None]:
        """Translates the errors of reading a stream, see `translate_errors`."""
        return translate_errors(self.name, self.repo, self.config)


class JoinedImages:
    """Looks images up by id. Nothing is copied: a map-style dataset is read by row number.

    Args:
        rows: a ``datasets.Dataset`` or ``IterableDataset``.
        key: its column of ids.
        image: its column of images.

    Raises:
        EmmsError: it has no such columns.
    """

    def __init__(self, rows: Any, key: str, image: str) -> None:
        import datasets

        if not {key, image} <= set(rows.column_names):
            found = ", ".join(rows.column_names)
            raise EmmsError(
                f"pictures are expected in the columns {key!r} and {image!r}; there are {found}",
                "pass a folder that holds pictures and texts together: --dataset ./FOLDER",
            )
        rows = rows.select_columns([key, image])
        if isinstance(rows.features[image], datasets.Image):
            rows = rows.cast_column(image, datasets.Image(decode=False))
        self._rows, self._key, self._image = rows, key, image
        self._fetched: dict[Any, Any] = {}
        self._row_of = {id: number for number, id in enumerate(rows[key])} if hasattr(rows, "num_rows") else {}

    def fetch(self, ids: Iterable[Any]) -> None:
        """Reads a stream until it has given the images of these ids, and holds them."""
        wanted = set(ids) - set(self._row_of) - set(self._fetched)
        for row in self._rows if wanted else ():
            if row[self._key] in wanted:
                self._fetched[row[self._key]] = row[self._image]
                wanted.discard(row[self._key])
                if not wanted:
                    return

    def __getitem__(self, id: Any) -> Any:
        """The image of an id, encoded.

        Raises:
            UnusableError: there is none.
        """
        if id in self._fetched:
            return self._fetched[id]
        if id not in self._row_of:
            raise UnusableError(f"there is no picture with the id {id!r}")
        return self._rows[self._row_of[id]][self._image]


def open_memory(name: str, repo: Repo, dataset: Any, split: str | None) -> Source:
    """Wraps a Dataset, DatasetDict, their streaming forms, a pandas DataFrame, or a list of dictionaries.

    Raises:
        EmmsError: no such split, or something that is no dataset.
    """
    import datasets

    notes: list[str] = []
    splits: tuple[str, ...] = ()
    if isinstance(dataset, Mapping):
        splits = tuple(dataset)
        split = choose_split(name, splits, split, notes)
        dataset = dataset[split]
    elif hasattr(dataset, "iloc"):  # of pandas; its images stay images
        dataset = datasets.Dataset.from_dict(dataset.to_dict("list"))
    elif isinstance(dataset, list) and dataset and all(isinstance(row, Mapping) for row in dataset):
        dataset = datasets.Dataset.from_list(dataset)
    if not isinstance(dataset, (datasets.Dataset, datasets.IterableDataset)):
        raise EmmsError(
            f"dataset is a {type(dataset).__name__}",
            "pass a Hub id, a preset name, a folder, a datasets.Dataset or a DataFrame",
        )
    total = dataset.num_rows if isinstance(dataset, datasets.Dataset) else None
    rows = dataset if total is not None else _with_features(name, dataset)
    return Source(name, repo, None, str(dataset.split or split or "all"), rows, total, notes, splits=splits)


def open_repo(
    name: str, repo: Repo, config: str | None, split: str | None, *, streaming: bool, converted: bool = False
) -> Source:
    """Opens a Hub dataset, a folder or a file.

    Args:
        name: of the dataset, for messages.
        repo: where it is.
        config: the configuration (subset).
        split: the split; chosen when None, training splits first.
        streaming: whether to read rows as they are needed.
        converted: whether the repository is the Hub's parquet copy, which has a folder for each configuration.

    Raises:
        NoReadableFileError: it holds a loading script or nothing.
        EmmsError: it cannot be read as a dataset.
    """
    notes: list[str] = []
    with translate_errors(name, repo, config):
        builder = _builder(repo, config, converted)
        splits = [str(one) for one in builder.config.data_files or builder.info.splits or {}]
        split = choose_split(name, splits, split, notes)
        files = {of: list(paths) for of, paths in (builder.config.data_files or {}).items()}
        if repo.folder is not None and repo.folder.is_dir() and not config:
            notes += notes_on_unused(repo.folder, [file for several in files.values() for file in several])
        file = Path(files[split][0]).name if len(files.get(split, ())) == 1 else None
        if not streaming:
            retried(builder.download_and_prepare)
            rows = builder.as_dataset(split=split)
            notes += notes_on_undescribed(files.get(split, []), rows.num_rows)
            return Source(name, repo, config, split, rows, rows.num_rows, notes, file=file, splits=tuple(splits))
        _limit_read_ahead(builder.config)
        rows = _with_features(name, builder.as_streaming_dataset(split=split))
    total = getattr((builder.info.splits or {}).get(split), "num_examples", None) or None
    return Source(name, repo, config, split, rows, total, notes, builder, splits=tuple(splits))


def choose_split(dataset: str, splits: Sequence[str], wanted: str | None, notes: list[str]) -> str:
    """The wanted split, or the one that a checkpoint would be fine-tuned on.

    Raises:
        EmmsError: there is no split of this name.
    """
    if wanted is not None:
        if wanted not in splits:
            raise EmmsError(f"{dataset!r} has no split {wanted!r}", f"--split takes one of: {', '.join(splits)}")
        return wanted
    chosen = next((name for name in SPLIT_ORDER if name in splits), splits[0])
    if len(splits) > 1:
        notes.append(f"split {chosen} chosen among {', '.join(splits)}")
    return chosen


@contextmanager
def translate_errors(dataset: str, repo: Repo, config: str | None) -> Iterator[None]:
    """Turns what ``datasets`` and the Hub raise into one line that says what to do.

    Args:
        dataset: its name, for messages.
        repo: where it is.
        config: the configuration that was asked for.
    """
    import datasets
    from datasets.data_files import EmptyDatasetError

    on_hub = translate_hub_errors(repo.id, repo.kind, repo.revision) if repo.folder is None else nullcontext()
    try:
        with limited_streaming(), on_hub:
            yield
    except EmmsError:
        raise
    except (EmptyDatasetError, datasets.exceptions.DataFilesNotFoundError) as error:
        raise NoReadableFileError(
            f"{dataset!r} holds no data file that can be read",
            "put pictures in one folder per class, or parquet, json, jsonl, csv or tsv files; "
            "for a dataset with a loading script try @refs/convert/parquet behind its id",
        ) from error
    # Files that others wrote: ``datasets`` raises whatever its parsers stumble over, StopIteration and TypeError too.
    except Exception as error:
        raise _explained(error, dataset, repo, config) from error


def _explained(error: Exception, dataset: str, repo: Repo, config: str | None) -> EmmsError:
    """What kept ``datasets`` from reading a dataset: the cache, a file, the configuration, access."""
    text = str(error)
    cache = _cache_problem(error)
    if cache is not None:
        return cache
    broken = broken_file(repo.folder) if repo.folder is not None else None
    if broken is not None and not (config and "not found" in text):
        return EmmsError(f"{dataset!r} cannot be read: {broken}", "repair that file, or take it out of the folder")
    if isinstance(error, ValueError) and "corresponds to no data" in text:
        return _no_rows(dataset)
    if isinstance(error, ValueError) and "config" in text.lower():
        asked = f"has no configuration {config!r}" if config else "has several configurations"
        return EmmsError(f"{dataset!r} {asked}: {' '.join(text.split())}", "--config NAME")
    hint = "check that its files are whole and of one layout, or pass --config or another --split"
    if "gated" in text:
        hint = f"accept its terms at {page(dataset.partition('@')[0], 'dataset')}, then log in: hf auth login"
    elif "script" in text:
        hint = _SCRIPT_HINT
    elif isinstance(error, ConnectionError):
        hint = "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER"
    root = error.__cause__ or error
    reason = (str(root).strip() or type(root).__name__).splitlines()[0]
    if not isinstance(error, (OSError, RuntimeError, ValueError)) and root is error:
        reason = f"{type(root).__name__}: {reason}"
    kind = NoReadableFileError if "script" in text else EmmsError
    return kind(f"{dataset!r} cannot be read: {reason}", hint)


def _cache_problem(error: BaseException) -> EmmsError | None:
    """The error of a cache folder of ``datasets`` or the Hub that is full or cannot be written; None for another."""
    from datasets import config
    from huggingface_hub import constants

    caches = [str(config.HF_DATASETS_CACHE), str(constants.HF_HUB_CACHE), str(constants.HF_HOME)]
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, OSError):
            inside = any(str(one.filename).startswith(cache) for cache in caches)
            full = one.errno in (errno.ENOSPC, errno.EDQUOT) or "Not enough disk space" in str(one)
            if full or (inside and one.errno in _NOT_WRITABLE):
                place = next((cache for cache in caches if str(one.filename).startswith(cache)), caches[0])
                return EmmsError(
                    f"the cache {place} cannot be written: {one.strerror or one}",
                    "free some space, or name a folder that can be written: HF_HOME=/FOLDER hf-emms …",
                )
        one = one.__cause__ or one.__context__
    return None


def _no_rows(dataset: str) -> EmmsError:
    return EmmsError(
        f"{dataset!r} has no rows in this split: a line of column names alone is no data",
        "another file or --split NAME",
    )


def _builder(repo: Repo, config: str | None, converted: bool) -> Any:
    import datasets

    if repo.folder is None:
        return _hub_builder(repo, config, converted)
    if repo.folder.is_file():
        suffix = repo.folder.suffix.lower()
        if suffix not in FORMATS:
            known = f"known are: {', '.join(sorted(FORMATS))}"
            raise EmmsError(f"the file {repo.id!r} is not of a known format", known)
        if config:
            raise EmmsError(f"a file has no configurations: {repo.id!r} and --config {config}", "leave --config out")
        files = {"train": glob.escape(str(repo.folder))}
        settings: dict[str, Any] = {"sep": "\t"} if suffix == ".tsv" else {}
        return _csv_with_texts(
            lambda **more: datasets.load_dataset_builder(FORMATS[suffix], data_files=files, **settings, **more)
        )
    # A folder in the Hub's layout may keep each configuration in a folder of its own, without a README to say so.
    folder, name = str(repo.folder), config
    if config and (repo.folder / config).is_dir() and not (repo.folder / "README.md").exists():
        folder, name = str(repo.folder / config), None
    return _csv_with_texts(lambda **more: datasets.load_dataset_builder(folder, name, **more))


def _csv_with_texts(load: Callable[..., Any]) -> Any:
    """A builder; one of CSV files anew, such that NA and None are texts."""
    builder = load()
    if not hasattr(builder.config, "keep_default_na"):
        return builder
    files = [file for several in builder.config.data_files.values() for file in several]
    return load(**texts_as_they_are(files, builder.config.sep))


def _hub_builder(repo: Repo, config: str | None, converted: bool) -> Any:
    import datasets

    part = {"data_dir": config} if converted and config else {"name": config}
    try:
        found = retried(lambda: datasets.load_dataset_builder(repo.id, revision=repo.revision, **part))
    except ValueError as error:
        if "Couldn't find cache" not in str(error):
            raise
        found = None
    if found is not None and found.hash == repo.revision:
        return found
    # Whatever went wrong, ``datasets`` has looked into its cache and taken the latest copy, whatever its revision.
    if found is not None and Path((pinned := _at_revision(repo, found)).cache_dir).is_dir():
        return pinned
    if f"{repo.id.rpartition('/')[2]}.py" in listing(repo):
        raise NoReadableFileError(f"{repo.id!r} is a loading script, which no longer runs", _SCRIPT_HINT)
    raise EmmsError(
        f"dataset {repo.id!r} at {repo.revision!r} is not in the local cache (another revision is)",
        "run once online, or name the cached revision: --dataset ORG/NAME@REVISION",
    )


def _at_revision(repo: Repo, latest: Any) -> Any:
    """A builder like the given one, of the copy that is cached at the pinned revision."""
    return type(latest)(
        dataset_name=latest.dataset_name,
        config_name=latest.config.name,
        version=str(latest.config.version),
        hash=repo.revision,
        repo_id=repo.id,
    )


def _limit_read_ahead(config: Any) -> None:
    """Lets streamed parquet be read a few MiB at a time: Arrow's default is 32, far beyond a row group."""
    if not hasattr(config, "fragment_scan_options"):
        return
    import pyarrow
    import pyarrow.dataset

    cache = pyarrow.CacheOptions(lazy=True, hole_size_limit=_HOLE, range_size_limit=_RANGE)
    config.fragment_scan_options = pyarrow.dataset.ParquetFragmentScanOptions(cache_options=cache)


def _with_features(name: str, rows: Any) -> Any:
    """A stream that knows its column types; those of json, csv and generators show in their first rows only."""
    if rows.features is not None:
        return rows
    import datasets

    first = list(rows.take(_FIRST_ROWS))
    if not first:
        raise _no_rows(name)
    return rows.cast(datasets.Dataset.from_list(first).features)


def _undecoded(feature: Any) -> Any:
    """The same type with its images as they are encoded."""
    import datasets

    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    if isinstance(feature, Mapping):
        return {name: _undecoded(one) for name, one in feature.items()}
    inner = getattr(feature, "feature", None)
    encoded = inner and _undecoded(inner)
    return feature if encoded == inner else datasets.List(encoded)
