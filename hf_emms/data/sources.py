"""Finds the dataset that a user names: a preset, a Hub id, a folder or a file.

Opens a dataset: from the Hub, a folder, a file or memory; picks the split.
Pictures that stand in another configuration of a dataset, joined by their ids as they are needed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hf_emms.data.reading import SCRIPT_HINT, NoReadableFileError, reading
from hf_emms.data.rows import UnusableError
from hf_emms.errors import EmmsError
from hf_emms.hub import Repo, RepoNotFoundError, listing, looks_like_path, resolve, retried
from hf_emms.options import Options
from hf_emms.presets import DatasetPreset, dataset_names, dataset_preset, usable_datasets

_CONVERTED = "refs/convert/parquet"


@dataclass(frozen=True)
class DatasetRef:
    """A dataset, found and pinned, not yet opened.

    Attributes:
        name: as the user typed it.
        repo: the repository.
        preset: the preset of that name, as its repository has it.
        config: the configuration to open.
        split: the split to open; None leaves the choice.
        streaming: whether it is read as a stream.
        pinned: whether a revision was asked for.
        notes: what was chosen for the user.
    """

    name: str
    repo: Repo
    preset: DatasetPreset | None
    config: str | None
    split: str | None
    streaming: bool
    pinned: bool
    notes: tuple[str, ...] = ()

    def open(self) -> Source:
        """Opens the split; where the repository holds a loading script, the Hub's parquet copy stands in.

        Raises:
            EmmsError: it cannot be read as a dataset.
        """
        try:
            source = self._opened(self.repo)
        except NoReadableFileError as unreadable:
            if self.pinned or self.repo.folder is not None:
                raise
            try:
                copy = resolve(self.repo.id, "dataset", revision=_CONVERTED)
            except EmmsError:
                raise unreadable from None
            config = self.config or _only_configuration(self.name, copy)
            source = replace(self, config=config)._opened(copy, converted=True)
            source.notes.append(f"{self.repo.id} has no files to read; the Hub's copy stands in: {_CONVERTED}")
        source.notes.extend(self.notes)
        return source

    def _opened(self, repo: Repo, *, converted: bool = False) -> Source:
        # Messages name what is on the Hub, not the preset.
        opened = partial(
            open_repo,
            repo.id if self.preset else self.name,
            repo,
            streaming=self.streaming,
            converted=converted,
        )
        source = opened(config=self.config, split=self.split)
        join = self.preset.join if self.preset and self.config == self.preset.config else {}
        if join:
            other = opened(config=join["config"], split=source.split)
            source.joined[join["column"]] = Joined(other.rows, join["key"], join["picture"])
        return replace(source, name=self.name)


def find(options: Options) -> DatasetRef:
    """Finds what the user named; a preset fills in what the user left open.

    Raises:
        EmmsError: there is no such preset, dataset, folder or file, or it cannot be used.
    """
    dataset, streaming = str(options.dataset), options.streaming
    preset = None if looks_like_path(dataset) else dataset_preset(dataset)
    if preset is None:
        repo = _resolved(dataset)
        return DatasetRef(dataset, repo, None, options.config, options.split, streaming, "@" in dataset)
    preset.check_usable()
    gone: list[str] = []
    for one in preset.sources():
        try:
            repo = resolve(str(one.id), "dataset", revision=one.revision)
        except RepoNotFoundError:
            gone.append(str(one.id))
            continue
        large = one.stream and options.max_samples is not None and not streaming
        return DatasetRef(
            dataset,
            repo,
            one,
            options.config or one.config,
            options.split or one.split,
            streaming or large,
            one.revision is not None,
            (
                *(f"{name} is not on the Hub any more; {one.id} stands in" for name in gone),
                *([f"streamed, because the preset says that {one.id} is large"] if large else []),
            ),
        )
    raise RepoNotFoundError(
        f"the preset {dataset!r} expects {' or '.join(gone)}, but none of them is on the Hub (any more)",
        "pass another dataset: --dataset ORG/NAME or ./FOLDER",
    )


def _only_configuration(dataset: str, copy: Repo) -> str | None:
    """The configuration of a parquet copy, which has a folder for each.

    Raises:
        EmmsError: there are several.
    """
    names = sorted({path.partition("/")[0] for path in listing(copy) if path.endswith(".parquet")})
    if len(names) > 1:
        raise EmmsError(f"{dataset!r} has several configurations: {', '.join(names)}", "--config NAME")
    return names[0] if names else None


def _resolved(dataset: str) -> Repo:
    try:
        return resolve(dataset, "dataset")
    except EmmsError as error:
        # One word was probably meant as a preset: the Hub's ids have an owner.
        if "/" in dataset or looks_like_path(dataset) or Path(dataset).exists():
            raise
        close = difflib.get_close_matches(dataset.lower(), dataset_names(), n=3)
        presets = f"did you mean {' or '.join(close)}?" if close else f"presets: {', '.join(usable_datasets())}."
        hint = f"{presets} A Hub dataset is ORG/NAME, a folder ./NAME"
        raise EmmsError(f"no preset is named {dataset!r}; {error.message}", hint) from error


SPLIT_ORDER = ("train", "training", "validation", "valid", "val", "dev", "test", "testdev")
_FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv"}
_FIRST_ROWS = 100
_HOLE, _RANGE = 1 << 16, 1 << 22
IN_MEMORY = "in-memory dataset"


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
        joined: column of ids → the pictures of another configuration, by id.
    """

    name: str
    repo: Repo
    config: str | None
    split: str
    rows: Any
    total: int | None
    notes: list[str] = field(default_factory=list)
    builder: Any = None
    joined: dict[str, Joined] = field(default_factory=dict)

    @property
    def streaming(self) -> bool:
        return not hasattr(self.rows, "num_rows")

    def only(self, columns: Sequence[str]) -> Any:
        """The rows with these columns alone, without any format; of streamed parquet nothing else is read."""
        rows = self.rows
        if self.builder is not None and hasattr(self.builder.config, "columns"):
            self.builder.config.columns = list(columns)
            rows = self.builder.as_streaming_dataset(split=self.split)
        return rows.with_format(None).select_columns(list(columns))


def open_memory(dataset: Any, split: str | None) -> Source:
    """Wraps a Dataset, DatasetDict or their streaming forms.

    Raises:
        EmmsError: no such split, or something that is no dataset.
    """
    import datasets

    notes: list[str] = []
    if isinstance(dataset, Mapping):
        split = choose_split(IN_MEMORY, list(dataset), split, notes)
        dataset = dataset[split]
    if not isinstance(dataset, (datasets.Dataset, datasets.IterableDataset)):
        raise EmmsError(
            f"dataset is a {type(dataset).__name__}",
            "pass a Hub id, a preset name, a folder, or a datasets.Dataset",
        )
    total = dataset.num_rows if isinstance(dataset, datasets.Dataset) else None
    rows = dataset if total is not None else _with_features(dataset)
    name = str(dataset.split or split or "all")
    return Source(IN_MEMORY, Repo(IN_MEMORY, "dataset", ""), None, name, rows, total, notes)


def open_repo(
    dataset: str, repo: Repo, *, config: str | None, split: str | None, streaming: bool, converted: bool = False
) -> Source:
    """Opens a Hub dataset, a folder or a file.

    Args:
        dataset: as the user typed it, for messages.
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
    with reading(dataset, repo, config):
        builder = _builder(repo, config, converted)
        split = choose_split(dataset, _splits(builder), split, notes)
        if streaming:
            _read_no_further(builder.config)
            rows = _with_features(builder.as_streaming_dataset(split=split))
        else:
            retried(builder.download_and_prepare)
            rows = builder.as_dataset(split=split)
    known = (builder.info.splits or {}).get(split)
    total = rows.num_rows if not streaming else getattr(known, "num_examples", None) or None
    return Source(dataset, repo, config, split, rows, total, notes, builder if streaming else None)


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


def _builder(repo: Repo, config: str | None, converted: bool) -> Any:
    import datasets

    if repo.folder is None:
        return _hub_builder(repo, config, converted)
    if repo.folder.is_file():
        suffix = repo.folder.suffix.lower()
        if suffix not in _FORMATS:
            raise EmmsError(
                f"the file {repo.id!r} is not of a known format", f"known are: {', '.join(sorted(_FORMATS))}"
            )
        options = {"sep": "\t"} if suffix == ".tsv" else {}
        files = {"train": str(repo.folder)}
        return datasets.load_dataset_builder(_FORMATS[suffix], data_files=files, **options)
    # A folder in the Hub's layout may keep each configuration in a folder of its own, without a README to say so.
    if config and (repo.folder / config).is_dir() and not (repo.folder / "README.md").exists():
        return datasets.load_dataset_builder(str(repo.folder / config))
    return datasets.load_dataset_builder(str(repo.folder), config)


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
    pinned = found and _at_revision(repo, found)
    if pinned:
        return pinned
    if f"{repo.id.rpartition('/')[2]}.py" in listing(repo):
        raise NoReadableFileError(f"{repo.id!r} is a loading script, which no longer runs", SCRIPT_HINT)
    raise EmmsError(
        f"dataset {repo.id!r} at {repo.revision!r} is not in the local cache (another revision is)",
        "run once online, or name the cached revision: --dataset ORG/NAME@REVISION",
    )


def _at_revision(repo: Repo, latest: Any) -> Any:
    """The cached copy at the pinned revision, if there is one."""
    pinned = type(latest)(
        dataset_name=latest.dataset_name,
        config_name=latest.config.name,
        version=str(latest.config.version),
        hash=repo.revision,
        repo_id=repo.id,
    )
    return pinned if Path(pinned.cache_dir).is_dir() else None


def _read_no_further(config: Any) -> None:
    """Lets streamed parquet be read a few MiB at a time: Arrow's default is 32, far beyond a row group."""
    if not hasattr(config, "fragment_scan_options"):
        return
    import pyarrow
    import pyarrow.dataset

    cache = pyarrow.CacheOptions(lazy=True, hole_size_limit=_HOLE, range_size_limit=_RANGE)
    config.fragment_scan_options = pyarrow.dataset.ParquetFragmentScanOptions(cache_options=cache)


def _with_features(rows: Any) -> Any:
    """A stream that knows its column types; those of json, csv and generators show in their first rows only."""
    if rows.features is not None:
        return rows
    import datasets

    first = list(rows.take(_FIRST_ROWS))
    return rows.cast(datasets.Dataset.from_list(first).features) if first else rows.cast(datasets.Features({}))


def _splits(builder: Any) -> list[str]:
    return [str(name) for name in builder.config.data_files or builder.info.splits or {}]


class Joined:
    """Looks pictures up by id. Nothing is copied: a map-style dataset is read by row number.

    Args:
        rows: a ``datasets.Dataset`` or ``IterableDataset``.
        key: its column of ids.
        picture: its column of pictures.

    Raises:
        EmmsError: it has no such columns.
    """

    def __init__(self, rows: Any, key: str, picture: str) -> None:
        import datasets

        if not {key, picture} <= set(rows.column_names):
            found = ", ".join(rows.column_names)
            raise EmmsError(
                f"pictures are expected in the columns {key!r} and {picture!r}; there are {found}",
                "pass a folder that holds pictures and texts together: --dataset ./FOLDER",
            )
        rows = rows.select_columns([key, picture])
        if isinstance(rows.features[picture], datasets.Image):
            rows = rows.cast_column(picture, datasets.Image(decode=False))
        self._rows, self._key, self._picture = rows, key, picture
        self._held: dict[Any, Any] = {}
        map_style = hasattr(rows, "num_rows")
        self._number = {id: number for number, id in enumerate(rows[key])} if map_style else {}

    def fetch(self, ids: Iterable[Any]) -> None:
        """Reads a stream until it has given the pictures of these ids, and holds them."""
        wanted = set(ids) - set(self._number) - set(self._held)
        for row in self._rows if wanted else ():
            if row[self._key] in wanted:
                self._held[row[self._key]] = row[self._picture]
                wanted.discard(row[self._key])
                if not wanted:
                    return

    def __call__(self, id: Any) -> Any:
        """The picture of an id, encoded.

        Raises:
            UnusableError: there is none.
        """
        if id in self._held:
            return self._held[id]
        if id not in self._number:
            raise UnusableError(f"there is no picture with the id {id!r}")
        return self._rows[self._number[id]][self._picture]
