"""Read media from columns of paths."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hf_emms.data.files.local import files_by_name
from hf_emms.hub import Repo
from hf_emms.inputs import MODALITIES, UnusableError

# Names that `hf download --local-dir` and the Hub's cache leave in a folder.
_DOWNLOADED = Path(".cache", "huggingface", "download")
_HUB_CACHE = "snapshots"


def media_type(value: str) -> str | None:
    """Return the type of media with such a path: "image" or "audio"; None for other texts."""
    suffix = PurePosixPath(value.rpartition("\\")[2]).suffix.lower()
    if not suffix or "\n" in value:
        return None
    return next((kind.column_types[0] for kind in MODALITIES.values() if suffix in kind.suffixes), None)


def usual(types: Iterable[str | None], share: float = 0.9) -> str | None:
    """Return the type that at least a `share` of the values have, or None."""
    times = Counter(types)
    least = share * times.total()
    del times[None]
    return next(iter(times)) if len(times) == 1 and times.total() >= least else None


@dataclass(frozen=True)
class MediaFiles:
    """A mapping from a path in a column to a cell that refers to the file.

    Attributes:
        root: The folder that no path may leave; None if any file of this machine may be read.
        by_name: File name, with and without its suffix → the file, if a table describes a folder.
    """

    folders: tuple[Path, ...]
    root: Path | None = None
    by_name: Mapping[str, Path] = field(default_factory=dict)

    def __getitem__(self, value: Any) -> dict[str, Any]:
        path = self.find(str(value))
        if path is None:
            raise UnusableError(f"there is no file {str(value)!r}")
        return {"bytes": None, "path": str(path)}

    def find(self, value: str) -> Path | None:
        """Return the file that a cell names, or None; raise an `UnusableError` if it may not be read."""
        if value in self.by_name:
            return self.by_name[value]
        for folder in self.folders:
            path = Path(os.path.normpath(folder.absolute() / value.replace("\\", "/")))
            if self.root is not None and not path.is_relative_to(self.root):
                raise UnusableError(f"the path {value!r} leaves the folder of the dataset, which was downloaded")
            if path.is_file():
                return path
        return None


def media_files(repo: Repo, folders: Sequence[Path], media_folder: Path | None) -> MediaFiles:
    """Return the files to which paths may refer: next to the dataset, or anywhere if it is not downloaded."""
    by_name = {} if media_folder is None else files_by_name(media_folder)
    return MediaFiles(tuple(dict.fromkeys(folders)) or (Path(),), _downloaded_root(repo), by_name)


def _downloaded_root(repo: Repo) -> Path | None:
    if repo.folder is None:
        return None
    place = repo.folder.absolute()
    for folder in (place, *place.parents):
        if (folder / _DOWNLOADED).is_dir() or folder.parent.name == _HUB_CACHE:
            return folder
    return None
