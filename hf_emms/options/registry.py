"""Look up tasks, estimators and architectures, including entry points of other packages.

The name of an entry point is a task's id, an estimator's name or a `model_type`. Names come from package metadata. A
package is imported when one of its names is looked up, or when all are listed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Generic, TypeVar

from hf_emms import __version__
from hf_emms.errors import EmmsError, checkpoint_errors

T = TypeVar("T")

GROUPS = {"hf_emms.tasks": "task", "hf_emms.estimators": "estimator", "hf_emms.architectures": "architecture"}
# Packages whose versions affect scores.
_PACKAGES = ("torch", "transformers", "datasets", "numpy")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plugin:
    """An entry point of another package that is not imported yet."""

    package: str
    version: str
    entry: metadata.EntryPoint

    @property
    def name(self) -> str:
        return self.entry.name

    def load(self, kind: type[T]) -> tuple[T, ...]:
        """Import and return the object or list of objects as a tuple.

        Raises:
            EmmsError: An object is not of type `kind`, or the import fails.
        """
        try:
            with checkpoint_errors():
                loaded = self.entry.load()
        except EmmsError as error:
            raise self.error(f"cannot be loaded: {error.message}") from error
        objects = tuple(loaded) if isinstance(loaded, (tuple, list)) else (loaded,)
        for item in objects:
            if not isinstance(item, kind):
                raise self.error(f"is of type {type(item).__name__}, not {kind.__module__}.{kind.__name__}")
        return objects

    def error(self, problem: str) -> EmmsError:
        """Return an error that names the package and a way to continue without it."""
        return EmmsError(
            "broken-package",
            f"the {GROUPS[self.entry.group]} {self.name!r} of the package {self.package} {self.version} {problem}",
            f"repair or update the package, or go on without it: pip uninstall {self.package}",
        )


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """Return the entry points of a group by name."""
    return {
        entry.name: Plugin(entry.dist.name, entry.dist.version, entry)
        for entry in metadata.entry_points(group=group)
        if entry.dist is not None
    }


@cache
def installed_version(package: str) -> str:
    """Return the version of an installed package, and cache it."""
    return metadata.version(package)


def installed_versions(*packages: str) -> dict[str, str]:
    """Return package → version of the installed packages."""
    installed: dict[str, str] = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            installed[package] = installed_version(package)
    return installed


def plugin_versions() -> dict[str, str]:
    """Return the versions of packages with entry points of hf_emms. Scores may depend on them."""
    return {plugin.package: plugin.version for group in GROUPS for plugin in plugins(group).values()}


def versions() -> dict[str, str]:
    """Return the versions of all packages that a score may depend on, including plugins."""
    return {"hf_emms": __version__, **{name: installed_version(name) for name in _PACKAGES}, **plugin_versions()}


class Registry(Mapping[str, T], Generic[T]):
    """Built-in entries and entries of other packages, by name. A built-in name cannot be redefined.

    If a package cannot be loaded, looking its name up raises an EmmsError. Iteration skips it with a warning. `names`
    returns the name of an entry, then its aliases.
    """

    def __init__(self, group: str, kind: type[T], built_in: Iterable[T], names: Callable[[T], tuple[str, ...]]) -> None:
        self._group, self._kind, self._names = group, kind, names
        # The entries of hf_emms, which are the defaults.
        self.built_in = {names(entry)[0]: entry for entry in built_in}
        self._aliases = {alias: entry for entry in self.built_in.values() for alias in names(entry)[1:]}
        self._loaded: dict[str, T] = {}
        self._warned: set[str] = set()

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(plugins(self._group)[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in plugins(self._group)

    def __iter__(self) -> Iterator[str]:
        for name in dict.fromkeys((*self.built_in, *plugins(self._group))):
            try:
                self[name]
            except EmmsError as error:
                if name not in self._warned:
                    _LOG.warning("left out: %s", error)
                self._warned.add(name)
            else:
                yield name

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    def find(self, name: str) -> T | None:
        """Return the entry with this name or alias, or None."""
        if name in self.built_in or name in self._aliases:
            return self.built_in.get(name) or self._aliases[name]
        if name in self:
            return self[name]
        return next((entry for entry in self.values() if name in self._names(entry)), None)

    def _load(self, plugin: Plugin) -> T:
        entries = plugin.load(self._kind)
        if len(entries) != 1:
            raise plugin.error(f"is {len(entries)} objects, not a single object")
        name, *_ = self._names(entries[0])
        if name != plugin.name:
            raise plugin.error(f"calls itself {name!r}: the entry point has to have that name")
        return entries[0]


def by_reference(reference: str) -> Any:
    """Return the object with the reference "package.module:NAME"."""
    try:
        with checkpoint_errors():
            return metadata.EntryPoint(reference, reference, "").load()
    except EmmsError as error:
        raise EmmsError(
            "broken-package", f"{reference} cannot be loaded: {error.message}", "repair or update its package"
        ) from error


def entry_or_reference(name: str, table: Mapping[str, T], *kinds: Any) -> T:
    """Return an entry of a table, or the object with the reference "package.module:NAME", of these types."""
    entry: T = by_reference(name) if ":" in name else table[name]
    if not isinstance(entry, kinds):
        names = " or ".join(f"{kind.__module__}.{kind.__name__}" for kind in kinds)
        raise EmmsError("wrong-type", f"{name} is of type {type(entry).__name__}, not {names}")
    return entry
