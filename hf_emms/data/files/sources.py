"""Find and pin the dataset that a user names: a preset, a Hub id, a folder, a file, or data in memory."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_emms.data.files.limits import check_files
from hf_emms.data.files.open_split import (
    ConfigurationError,
    DatasetFiles,
    JoinedImages,
    OpenSplit,
    configuration_names,
    find_files,
    open_memory,
    translate_errors,
)
from hf_emms.errors import EmmsError, Note
from hf_emms.hub import Repo, RepoNotFoundError, looks_like_path, resolve
from hf_emms.options import SampleOptions
from hf_emms.presets import DatasetPreset, dataset_preset, dataset_presets, usable_datasets
from hf_emms.presets.demo import DEMO_PREFIX
from hf_emms.texts import setting_ref

_IN_MEMORY = "in-memory dataset"


@dataclass(frozen=True)
class DatasetSource:
    """A pinned dataset, which finds its files when a split is opened for the first time.

    Attributes:
        name: The dataset as the user typed it.
        repo: The repository; its revision is empty for a dataset in memory.
        preset: The preset with that name, for the repository that is used.
        data: A dataset in memory.
    """

    name: str
    repo: Repo
    config: str | None = None
    preset: DatasetPreset | None = None
    notes: tuple[Note, ...] = ()
    data: Any = None

    def split(self, options: SampleOptions) -> str | None:
        """Return the split of the options or the preset; None if neither names a split."""
        return options.split or (self.preset.split if self.preset else None)

    def open(self, options: SampleOptions) -> OpenSplit:
        """Open a split; for a repository with a loading script, open the Hub's parquet copy.

        Reads only the first rows of a stream, which is the default for large presets.
        """
        split, is_streamed = self.split(options), options.streaming or self._is_large(options)
        if self.repo.id == _IN_MEMORY:
            return open_memory(self.name, self.repo, self.data, split, options)
        opened = self._files.open(split, options if is_streamed else None)
        notes = [*opened.notes, *self.notes]
        if self._is_large(options) and self.preset:
            notes.append(Note("streamed-preset", f"streamed, because {self.preset.id} is large"))
        join = self.preset.join if self.preset and self.config == self.preset.config else {}
        joined = {}
        if join:
            with translate_errors(self._name_on_hub, opened.repo, join["config"]):
                images = find_files(self._name_on_hub, opened.repo, join["config"]).open(opened.split)
                joined[join["column"]] = JoinedImages(images, join["key"], join["image"])
        return replace(opened, name=self.name, joined=joined, notes=tuple(notes))

    def _is_large(self, options: SampleOptions) -> bool:
        large = self.preset is not None and self.preset.stream
        return large and options.max_samples is not None and not options.streaming

    @property
    def _name_on_hub(self) -> str:
        """The name to show for the repository in messages about files."""
        return self.repo.id if self.preset else self.name

    @cached_property
    def _files(self) -> DatasetFiles:
        return self.files_of(self.config)

    def files_of(self, config: str | None) -> DatasetFiles:
        """Return the files of a configuration.

        Raises:
            ConfigurationError: The configuration does not exist, or several exist and none is named.
            EmmsError: The files cannot be read.
        """
        return find_files(self._name_on_hub, self.repo, config)

    @cached_property
    def configurations(self) -> tuple[str, ...]:
        """The names of all configurations."""
        try:
            return tuple(getattr(self._files.builder, "builder_configs", ()))
        except ConfigurationError:
            return tuple(configuration_names(self.repo))


def open_dataset(options: SampleOptions) -> DatasetSource:
    """Pin the dataset that the options name; a preset fills in options that the user did not set.

    Raises:
        EmmsError: The preset, dataset, folder or file does not exist or cannot be used.
    """
    dataset, config = options.dataset, options.config
    if not isinstance(dataset, str):
        if config:
            raise EmmsError(
                "no-configurations", f"a dataset in memory has no configurations, such as {config!r}", "remove config"
            )
        return DatasetSource(_IN_MEMORY, Repo(_IN_MEMORY, "dataset", ""), data=dataset)
    preset = None if looks_like_path(dataset) else dataset_preset(dataset)
    if preset is None:
        return DatasetSource(dataset, _resolved(dataset), config)
    preset.check_usable()
    missing: list[str] = []
    for candidate in preset.sources():
        try:
            repo = resolve(str(candidate.id), "dataset", revision=candidate.revision)
        except RepoNotFoundError:
            missing.append(str(candidate.id))
            continue
        notes = tuple(
            Note("fallback-repository", f"{id} is no longer on the Hub. Using {candidate.id} instead") for id in missing
        )
        return DatasetSource(dataset, repo, config or candidate.config, candidate, notes)
    raise RepoNotFoundError(
        "preset-incomplete",
        f"the preset {dataset!r} expects {' or '.join(missing)}, which the Hub does not have (any longer)",
        "name another dataset: " + setting_ref("dataset", "ORG/NAME", "./FOLDER"),
    )


def _resolved(dataset: str) -> Repo:
    before, at, _ = dataset.rpartition("@")
    try:
        if at and not Path(dataset).exists() and (before.startswith(DEMO_PREFIX) or Path(before).expanduser().exists()):
            raise EmmsError(
                "no-revisions", f"{before!r} is on this machine and has no revisions", setting_ref("dataset", before)
            )
        path = Path(dataset).expanduser()
        if dataset and path.exists() and not dataset.startswith(DEMO_PREFIX):
            check_files(path)
        return resolve(dataset, "dataset")
    except (OSError, RuntimeError) as error:  # RuntimeError: ~NAME has no home folder
        reason = getattr(error, "strerror", None) or error
        place = getattr(error, "filename", None) or dataset[:120]
        raise EmmsError(
            "cannot-read", f"{str(place)!r} cannot be read: {reason}", setting_ref("dataset", "ORG/NAME", "./FOLDER")
        ) from error
    except EmmsError as error:
        # A single word probably means a preset: ids on the Hub have an owner.
        if "/" in dataset or looks_like_path(dataset) or Path(dataset).exists():
            raise
        close = difflib.get_close_matches(dataset.lower(), dataset_presets())
        presets = f"Did you mean {' or '.join(close)}?" if close else f"Presets: {', '.join(usable_datasets())}."
        hint = f"{presets} A Hub dataset is ORG/NAME, a folder ./NAME"
        raise EmmsError("unknown-dataset", f"no preset is named {dataset!r}; {error.message}", hint) from error
