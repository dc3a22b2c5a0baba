"""Look up datasets, checkpoints and label encoders by short names in the YAML files of this folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

from hf_emms.errors import EmmsError
from hf_emms.formatting import format_count
from hf_emms.texts import setting_ref, setting_refs


@dataclass(frozen=True)
class DatasetPreset:
    """A dataset under a short name; see the top of datasets.yaml for the fields."""

    name: str
    task: str
    id: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str | None = None
    splits: Mapping[str, int | None] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    join: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    fallbacks: tuple[Mapping[str, Any], ...] = ()
    local: str | None = None
    note: str | None = None
    encoders: str | None = None
    checkpoints: tuple[str, ...] = ()
    paper: bool = False
    bytes: int | None = None
    license: str | None = None
    verified: bool = False

    def sources(self) -> Iterator[DatasetPreset]:
        """Yield this preset, then a copy for each fallback repository."""
        yield self
        for other in self.fallbacks:
            # Another repository does not have the pinned commit.
            yield replace(self, **{"revision": None, **other})

    def check_usable(self) -> None:
        """Refuse a dataset that cannot be ranked on.

        Raises:
            EmmsError: It is not on the Hub.
        """
        if self.id is None:
            raise EmmsError(
                "not-on-hub",
                f"the dataset {self.name!r} is not on the Hub",
                "get it from its authors, then use "
                + setting_refs(setting_ref("dataset", "./FOLDER"), setting_ref("task", self.task))
                + f": {self.local}",
            )


@dataclass(frozen=True)
class CheckpointPreset:
    """A checkpoint or a label encoder of a list; see the top of checkpoints.yaml for the fields."""

    id: str
    revision: str | None = None
    weights: str | None = None
    parameters: int | None = None
    bytes: int | None = None
    license: str | None = None
    released: str | None = None
    table: str | None = None
    value: float | None = None
    verified: bool = False

    @property
    def name(self) -> str:
        """``ORG/NAME[@REVISION]``."""
        return f"{self.id}@{self.revision}" if self.revision else self.id


@cache
def dataset_presets() -> Mapping[str, DatasetPreset]:
    """Return all dataset presets by their names, including unsupported ones."""
    presets = {}
    for name, fields in _read("datasets").items():
        lists = {key: tuple(fields[key]) for key in ("fallbacks", "checkpoints") if key in fields}
        presets[name] = DatasetPreset(name=name, **{**fields, **lists})
    return presets


def dataset_preset(name: str) -> DatasetPreset | None:
    """Return the preset with this name, in any case, with hyphens or underscores; None if there is none."""
    return dataset_presets().get(name.strip().lower().replace("-", "_"))


def usable_datasets() -> tuple[str, ...]:
    """Return the dataset presets that require no manual download."""
    presets = dataset_presets().values()
    return tuple(preset.name for preset in presets if preset.id)


@cache
def checkpoint_presets() -> Mapping[str, tuple[CheckpointPreset, ...]]:
    """Return task → default checkpoints."""
    return _read_checkpoints("checkpoints")


def default_checkpoints(task_id: str, max_parameters: int | None = None) -> tuple[str, ...]:
    """Return the default checkpoints of a task as ``ORG/NAME[@REVISION]``, with at most `max_parameters`.

    Raises:
        EmmsError: The task has no list, or all checkpoints of the list are larger.
    """
    lists = checkpoint_presets()
    if task_id not in lists:
        raise EmmsError(
            "no-default-checkpoints",
            f"the task {task_id!r} has no default list of checkpoints",
            "name " + setting_ref("checkpoints", "ORG/NAME") + ", or a task with a list: " + ", ".join(lists),
        )
    sizes = {preset.name: preset.parameters or 0 for preset in lists[task_id]}
    if max_parameters is None:
        return tuple(sizes)
    if max_parameters < min(sizes.values()):
        smallest = format_count(min(sizes.values()))
        raise EmmsError(
            "no-default-checkpoints",
            f"the smallest default checkpoint of {task_id} has {smallest} parameters",
            setting_ref("max_params", smallest),
        )
    return tuple(name for name, size in sizes.items() if size <= max_parameters)


@cache
def checkpoint_sets() -> Mapping[str, tuple[str, ...]]:
    """Return the sets of checkpoints by their names ("paper-cnn", "paper-vit", "paper-captioning", "dinov3")."""
    return {name: tuple(ids) for name, ids in _read("checkpoint_sets").items()}


def expand_checkpoints(names: Iterable[str]) -> tuple[str, ...]:
    """Expand names of sets to ids."""
    sets = checkpoint_sets()
    return tuple(id for name in names for id in sets.get(name, (name,)))


@cache
def encoder_sets() -> Mapping[str, tuple[CheckpointPreset, ...]]:
    """Return the sets of label encoders by their names ("base", "paper", "paper-small", "demo")."""
    return _read_checkpoints("encoders")


def encoder_presets() -> Mapping[str, tuple[str, ...]]:
    """Return the ids of the label encoders by the names of their sets."""
    return {name: tuple(preset.name for preset in presets) for name, presets in encoder_sets().items()}


def expand_encoders(names: Iterable[str]) -> tuple[str, ...]:
    """Expand names of encoder sets to ids, each once."""
    sets = encoder_presets()
    return tuple(dict.fromkeys(id for name in names for id in sets.get(name, (name,))))


def _read(kind: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(f"{kind}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _read_checkpoints(kind: str) -> Mapping[str, tuple[CheckpointPreset, ...]]:
    return {name: tuple(CheckpointPreset(**fields) for fields in presets) for name, presets in _read(kind).items()}
