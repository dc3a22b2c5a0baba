"""Short names for datasets, checkpoints and label encoders. The names live in the YAML files beside this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

from hf_emms.errors import EmmsError
from hf_emms.tasks import TASKS


@dataclass(frozen=True)
class DatasetPreset:
    """A dataset under a short name; the fields are explained at the top of datasets.yaml."""

    name: str
    task: str
    id: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str | None = None
    splits: Mapping[str, int | None] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    join: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    fallbacks: tuple[Mapping[str, Any], ...] = ()
    local: str | None = None
    blocked: str | None = None
    note: str | None = None
    encoders: str | None = None
    checkpoints: tuple[str, ...] = ()
    paper: bool = False
    bytes: int | None = None
    licence: str | None = None
    verified: bool = False

    def sources(self) -> Iterator[DatasetPreset]:
        """This preset, then one copy per fallback repository, in the order to try them."""
        yield self
        for other in self.fallbacks:
            # A pinned commit of one repository means nothing in another.
            yield replace(self, **{"revision": None, **other})

    def check_usable(self) -> None:
        """Says why this dataset cannot be ranked on, if it cannot.

        Raises:
            EmmsError: its task is not supported yet, it is not on the Hub, or it is blocked.
        """
        if self.task not in TASKS:
            raise EmmsError(
                f"the dataset {self.name!r} is for {self.task}, a task that is not supported yet",
                f"supported tasks: {', '.join(TASKS)}; datasets for them: {', '.join(usable_datasets())}",
            )
        if self.blocked:
            raise EmmsError(
                f"the dataset {self.name!r} is not supported yet: {self.blocked}",
                f"datasets that are: {', '.join(usable_datasets())}",
            )
        if self.id is None:
            raise EmmsError(
                f"the dataset {self.name!r} is not on the Hub",
                f"get it from its authors and pass --dataset ./FOLDER --task {self.task}: {self.local}",
            )


@dataclass(frozen=True)
class CheckpointPreset:
    """A checkpoint that is ranked by default; the fields are explained at the top of checkpoints.yaml."""

    id: str
    revision: str | None = None
    weights: str | None = None
    parameters: int | None = None
    verified: bool = False

    @property
    def name(self) -> str:
        """``ORG/NAME[@REVISION]``."""
        return f"{self.id}@{self.revision}" if self.revision else self.id


def dataset_names() -> tuple[str, ...]:
    """Every dataset preset, the unsupported ones included."""
    return tuple(_datasets())


def dataset_presets() -> tuple[DatasetPreset, ...]:
    """Every dataset preset."""
    return tuple(_datasets().values())


def usable_datasets() -> tuple[str, ...]:
    """The dataset presets that can be ranked on without a folder of one's own."""
    return tuple(name for name, one in _datasets().items() if one.task in TASKS and one.id and not one.blocked)


def dataset_preset(name: str) -> DatasetPreset | None:
    """The preset of this name (case and hyphens do not matter), or None where there is none."""
    return _datasets().get(name.strip().lower().replace("-", "_"))


def checkpoint_preset(task_id: str) -> tuple[str, ...]:
    """The checkpoints that are ranked for a task when none is named, as ``ORG/NAME[@REVISION]``.

    Raises:
        EmmsError: there is no list for this task.
    """
    return tuple(one.name for one in checkpoint_presets(task_id))


def checkpoint_lists() -> tuple[str, ...]:
    """The tasks that have a list of default checkpoints."""
    return tuple(_read("checkpoints"))


def checkpoint_presets(task_id: str) -> tuple[CheckpointPreset, ...]:
    """The same checkpoints, with what is known about them.

    Raises:
        EmmsError: there is no list for this task.
    """
    listed = _from_list("checkpoints", task_id, "there is no default list of checkpoints for", "--checkpoint ORG/NAME")
    return tuple(CheckpointPreset(**fields) for fields in listed)


def encoder_preset(name: str) -> tuple[str, ...]:
    """The text encoders of a set ("paper", "base", "demo").

    Raises:
        EmmsError: there is no set of this name.
    """
    return _from_list("encoders", name, "there is no set of label encoders named", "--encoder ORG/NAME")


def encoder_presets() -> tuple[str, ...]:
    """The names of the encoder sets."""
    return tuple(_read("encoders"))


def _from_list(kind: str, name: str, complaint: str, flag: str) -> tuple[Any, ...]:
    lists = _read(kind)
    if name not in lists:
        raise EmmsError(f"{complaint} {name!r}", f"pass {flag}, or one of: {', '.join(lists)}")
    return tuple(lists[name])


@cache
def _datasets() -> dict[str, DatasetPreset]:
    presets = {}
    for name, fields in _read("datasets").items():
        lists = {key: tuple(fields[key]) for key in ("fallbacks", "checkpoints") if key in fields}
        presets[name] = DatasetPreset(name=name, **{**fields, **lists})
    return presets


@cache
def _read(kind: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(f"{kind}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)
