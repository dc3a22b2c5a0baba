"""Finds the dataset that a user names: a preset, a Hub id, a folder or a file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hf_emms.data.join import Joined
from hf_emms.data.reading import NoReadableFileError
from hf_emms.data.source import Source, open_repo
from hf_emms.errors import EmmsError
from hf_emms.hub import Repo, RepoNotFoundError, listing, looks_like_path, resolve
from hf_emms.presets import DatasetPreset, dataset_names, dataset_preset, usable_datasets

_CONVERTED = "refs/convert/parquet"


@dataclass(frozen=True)
class Place:
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


def find(dataset: str, config: str | None, split: str | None, *, streaming: bool, max_samples: int | None) -> Place:
    """Finds what the user named; a preset fills in what the user left open.

    Raises:
        EmmsError: there is no such preset, dataset, folder or file, or it cannot be used.
    """
    preset = None if looks_like_path(dataset) else dataset_preset(dataset)
    if preset is None:
        return Place(dataset, _resolved(dataset), None, config, split, streaming, "@" in dataset)
    preset.check_usable()
    gone: list[str] = []
    for one in preset.sources():
        try:
            repo = resolve(str(one.id), "dataset", revision=one.revision)
        except RepoNotFoundError:
            gone.append(str(one.id))
            continue
        large = one.stream and max_samples is not None and not streaming
        return Place(
            dataset,
            repo,
            one,
            config or one.config,
            split or one.split,
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
