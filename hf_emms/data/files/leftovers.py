"""Delete what a failed reader left in the cache of ``datasets``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from hf_emms.cache.files import UNFINISHED, locked

# Builders write below BUILDER/CONFIGURATION[/VERSION]/HASH.incomplete, while they hold the lock HASH_builder.lock.
_UNFINISHED, _LOCK = ("*/*/*.incomplete", "*/*/*/*.incomplete"), "_builder.lock"


def remove_leftovers(since: float) -> None:
    """Delete unfinished tables that no process writes, and what was unpacked since a time in seconds.

    ``datasets`` would take a file that it unpacked in part as complete.
    """
    import datasets
    import psutil

    unpacked = Path(datasets.config.EXTRACTED_DATASETS_PATH)
    for path in _unfinished(Path(datasets.config.HF_DATASETS_CACHE)):
        _remove(path, path.with_name(path.name.removesuffix(".incomplete") + _LOCK))
    for path in unpacked.glob("*") if unpacked.is_dir() else ():
        is_written = path.name.startswith(UNFINISHED) and psutil.pid_exists(int(path.name.split("-")[1]))
        if path.suffix != ".lock" and not is_written and path.lstat().st_mtime >= since:
            _remove(path, path.with_suffix(".lock"))


def _unfinished(cache: Path) -> Iterator[Path]:
    for pattern in _UNFINISHED:
        yield from cache.glob(pattern)


def _remove(path: Path, lock: Path) -> None:
    """Delete a file or folder, unless a process holds its lock."""
    try:
        with locked(lock, timeout=0):
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    except (TimeoutError, OSError):
        return
