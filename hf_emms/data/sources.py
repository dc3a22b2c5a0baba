"""Finds and pins the dataset that a user names: a preset, a Hub id, a folder, a file, or one in memory."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_emms.data.local_files import check_readable
from hf_emms.data.reading import JoinedImages, NoReadableFileError, Source, open_memory, open_repo
from hf_emms.errors import EmmsError
from hf_emms.hub import Repo, RepoNotFoundError, listing, looks_like_path, on_this_machine, resolve
from hf_emms.options import Options
from hf_emms.presets import DatasetPreset, dataset_preset, dataset_presets, usable_datasets
from hf_emms.presets.demo import DEMO_PREFIX

_CONVERTED = "refs/convert/parquet"
_IN_MEMORY = "in-memory dataset"


@dataclass(frozen=True)
class DatasetRef:
    """A dataset, found and pinned, not yet opened.

    Attributes:
        name: as the user typed it.
        repo: the repository; its revision is empty for a dataset in memory.
        split: the split to open; None leaves the choice.
        config: the configuration to open.
        streaming: whether it is read as a stream from the repository.
        pinned: whether a revision was asked for.
        preset: the preset of that name, as its repository has it.
        notes: what was chosen for the user.
        data: the dataset itself where it is in memory.
    """

    name: str
    repo: Repo
    split: str | None = None
    config: str | None = None
    streaming: bool = False
    pinned: bool = False
    preset: DatasetPreset | None = None
    notes: tuple[str, ...] = ()
    data: Any = None

    def open(self) -> Source:
        """Opens the split; of a repository that holds a loading script, the Hub's parquet copy.

        Raises:
            EmmsError: it cannot be read as a dataset.
        """
        if self.repo.id == _IN_MEMORY:
            return open_memory(self.name, self.repo, self.data, self.split)
        try:
            source = self._open(self.repo, self.config)
        except NoReadableFileError as unreadable:
            if self.pinned or self.repo.folder is not None:
                raise
            try:
                copy = resolve(self.repo.id, "dataset", revision=_CONVERTED)
            except EmmsError:
                raise unreadable from None
            source = self._open(copy, self.config or _only_config(self.name, copy), converted=True)
            source.notes.append(f"{self.repo.id} has no files to read; the Hub's copy is read instead: {_CONVERTED}")
        source.notes.extend(self.notes)
        return source

    def _open(self, repo: Repo, config: str | None, *, converted: bool = False) -> Source:
        # Messages name what is on the Hub, not the preset.
        name = repo.id if self.preset else self.name

        def opened(config: str | None, split: str | None) -> Source:
            return open_repo(name, repo, config, split, streaming=self.streaming, converted=converted)

        source = opened(config, self.split)
        join: Mapping[str, str] = self.preset.join if self.preset and config == self.preset.config else {}
        if join:
            images = opened(join["config"], source.split)
            source.joined[join["column"]] = JoinedImages(images.rows, join["key"], join["picture"])
        return replace(source, name=self.name)


def find(options: Options) -> DatasetRef:
    """Finds the dataset that the options name; a preset fills in what the user left open.

    Raises:
        EmmsError: there is no such preset, dataset, folder or file, or it cannot be used.
    """
    dataset, split, config = options.dataset, options.split, options.config
    if not isinstance(dataset, str):
        if config:
            raise EmmsError(f"a dataset in memory has no configurations: config is {config!r}", "leave config out")
        return DatasetRef(_IN_MEMORY, Repo(_IN_MEMORY, "dataset", ""), split, data=dataset)
    preset = None if looks_like_path(dataset) else dataset_preset(dataset)
    if preset is None:
        return DatasetRef(dataset, _resolved(dataset), split, config, options.streaming, "@" in dataset)
    preset.check_usable()
    missing: list[str] = []
    for one in preset.sources():
        try:
            repo = resolve(str(one.id), "dataset", revision=one.revision)
        except RepoNotFoundError:
            missing.append(str(one.id))
            continue
        notes = [f"{id} is not on the Hub any more; {one.id} is used instead" for id in missing]
        large = one.stream and options.max_samples is not None and not options.streaming
        if large:
            notes.append(f"streamed, because the preset says that {one.id} is large")
        return DatasetRef(
            dataset,
            repo,
            split or one.split,
            config or one.config,
            options.streaming or large,
            one.revision is not None,
            one,
            tuple(notes),
        )
    raise RepoNotFoundError(
        f"the preset {dataset!r} expects {' or '.join(missing)}, but none of them is on the Hub (any more)",
        "pass another dataset: --dataset ORG/NAME or ./FOLDER",
    )


def _only_config(dataset: str, copy: Repo) -> str | None:
    """The configuration of a parquet copy, which has a folder for each.

    Raises:
        EmmsError: there are several.
    """
    names = sorted({path.partition("/")[0] for path in listing(copy) if path.endswith(".parquet")})
    if len(names) > 1:
        raise EmmsError(f"{dataset!r} has several configurations: {', '.join(names)}", "--config NAME")
    return names[0] if names else None


def _check_local(dataset: str) -> None:
    """Checks a name of something on this machine.

    Raises:
        EmmsError: it cannot be read, or has a revision, which only the Hub's datasets have.
    """
    before, at, revision = dataset.rpartition("@")
    try:
        path = Path(dataset).expanduser()
        if on_this_machine(dataset) and path.exists():
            check_readable(path)
        elif at and (before.startswith(DEMO_PREFIX) or Path(before).expanduser().exists()):
            raise EmmsError(
                f"{before!r} is on this machine and has no revisions: @{revision}", f"leave it out: --dataset {before}"
            )
    except (OSError, RuntimeError) as error:  # a RuntimeError: the home of ~NAME is not known
        reason = getattr(error, "strerror", None) or error
        raise EmmsError(f"{dataset[:120]!r} cannot be read: {reason}", "--dataset ORG/NAME or ./FOLDER") from error


def _resolved(dataset: str) -> Repo:
    _check_local(dataset)
    try:
        return resolve(dataset, "dataset")
    except EmmsError as error:
        # One word was probably meant as a preset: the Hub's ids have an owner.
        if "/" in dataset or looks_like_path(dataset) or Path(dataset).exists():
            raise
        close = difflib.get_close_matches(dataset.lower(), dataset_presets(), n=3)
        presets = f"did you mean {' or '.join(close)}?" if close else f"presets: {', '.join(usable_datasets())}."
        hint = f"{presets} A Hub dataset is ORG/NAME, a folder ./NAME"
        raise EmmsError(f"no preset is named {dataset!r}; {error.message}", hint) from error
