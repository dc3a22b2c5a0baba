"""The cache: results in files of a folder.

Each entry is a file, named by the SHA-256 of its key: safetensors for arrays, JSON for finished rows. It contains its
key and a checksum. Damaged entries, or entries in an unexpected form, are removed and computed again. Entries that this
user cannot read stay, and links are not followed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hf_emms.cache.files import UNFINISHED, atomic_file, check_kind, folder_below, set_mode
from hf_emms.cache.key import Key, digest_of
from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    import numpy as np

# Exceptions while decoding a file of any content.
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, msgspec.MsgspecError)
# Error numbers for folders of other users, or read-only folders.
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS)
_LEFTOVER_SECONDS = 3600.0
_ENTRY_NAME = re.compile(r"[0-9a-f]{64}\.(safetensors|json)")
T = TypeVar("T")
_LOG = logging.getLogger(__name__)


def default_root() -> Path:
    """Return the cache folder: ``HF_EMMS_CACHE``, or ``emms`` in the Hugging Face home folder."""
    if os.environ.get("HF_EMMS_CACHE"):
        return Path(os.environ["HF_EMMS_CACHE"]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "emms"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "emms"


@dataclass(frozen=True)
class CacheEntry:
    """A file of the cache.

    Its name is the `digest` of its `key`. The key is empty if the file cannot be read. `used` is the time of the last
    read or write in seconds since the epoch.
    """

    kind: str
    digest: str
    path: Path
    bytes: int
    used: float
    key: dict[str, Any]


class Cache:
    """A folder of results that several processes may use at once."""

    def __init__(self, root: Path | None, on_problem: Callable[[str], None] = _LOG.warning) -> None:
        self.root = root  # created on first use; None stores nothing
        self._on_problem = on_problem  # called with messages about damaged or inaccessible entries
        self._refused: set[str] = set()  # refused actions that were reported

    @property
    def enabled(self) -> bool:
        return self.root is not None

    def get(self, key: Key, made_of: Callable[[dict[str, np.ndarray]], T]) -> T | None:
        """Read the arrays of a key and convert them by `made_of`. Returns None if they are missing or damaged.

        If `made_of` raises an exception, the entry counts as damaged.
        """
        return self._load(self._path(key, "safetensors"), lambda path: made_of(_read_arrays(path)))

    def holds(self, key: Key) -> bool:
        """Check whether arrays are stored for a key, without reading them."""
        path = self._path(key, "safetensors")
        return path is not None and not path.parent.is_symlink() and _is_file(path)

    def put(self, key: Key, arrays: Mapping[str, np.ndarray]) -> None:
        """Store named arrays for a key. Problems are reported and not raised."""
        self._store(self._path(key, "safetensors"), lambda path: _write_arrays(path, key, arrays))

    def get_json(self, key: Key, made_of: Callable[[Any], T]) -> T | None:
        """Read the JSON value of a key and convert it by `made_of`, see `get`."""
        return self._load(self._path(key, "json"), lambda path: made_of(_read_json(path)))

    def put_json(self, key: Key, value: Any) -> None:
        """Store a JSON value for a key. Problems are reported and not raised."""
        self._store(self._path(key, "json"), lambda path: _write_json(path, key, value))

    def entries(self) -> list[CacheEntry]:
        """List the entries, most recently used first."""
        entries = []
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                if _ENTRY_NAME.fullmatch(path.name):
                    status = path.stat()
                    entries.append(
                        CacheEntry(path.parent.name, path.stem, path, status.st_size, status.st_mtime, _read_key(path))
                    )
        return sorted(entries, key=lambda entry: (-entry.used, entry.digest))

    def remove(self, prefix: str) -> list[CacheEntry]:
        """Delete and return the entries of a checkpoint or encoder id, or with a prefix of their digest."""
        matching = [
            entry
            for entry in self.entries()
            if prefix and (entry.key.get("id") == prefix or entry.digest.startswith(prefix))
        ]
        if not matching:
            raise EmmsError(
                f"the cache {self.root} has no entry for {prefix!r}", "list the entries with hf-emms cache ls"
            )
        return [entry for entry in matching if self._unlink(entry.path)]

    def clear(self) -> list[CacheEntry]:
        """Delete all entries and the unfinished files of killed runs. Returns the entries."""
        return self.prune(older_than=-math.inf)

    def prune(self, *, older_than: float | None = None, max_bytes: int | None = None) -> list[CacheEntry]:
        """Delete entries unused for `older_than` seconds, the oldest beyond `max_bytes`, and files of killed runs.

        Returns the deleted entries.
        """
        now, size, removed = time.time(), 0, []
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):  # finished or removed meanwhile
                if path.name.startswith(UNFINISHED) and now - path.stat().st_mtime > _LEFTOVER_SECONDS:
                    self._unlink(path)
        for entry in self.entries():
            too_old = older_than is not None and now - entry.used > older_than
            too_much = max_bytes is not None and size + entry.bytes > max_bytes
            if (too_old or too_much) and self._unlink(entry.path):
                removed.append(entry)
            else:
                size += entry.bytes
        return removed

    def _files(self) -> list[Path]:
        """List the files in readable folders, without links, pipes and devices."""
        kinds = self.root.iterdir() if self.root is not None and self.root.is_dir() else ()
        folders = [folder for folder in kinds if folder.is_dir() and not folder.is_symlink()]
        return [path for folder in folders if os.access(folder, os.R_OK) for path in folder.iterdir() if _is_file(path)]

    def _path(self, key: Key, suffix: str) -> Path | None:
        return self.root / key["kind"] / f"{digest_of(key)}.{suffix}" if self.root else None

    def _load(self, path: Path | None, read: Callable[[Path], T]) -> T | None:
        from safetensors import SafetensorError

        if path is None:
            return None
        try:
            check_kind(path.parent, is_folder=True)
            check_kind(path, is_folder=False)
            path.open("rb").close()  # safetensors reports unreadable files as missing
            value = read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(error, "read", f"Cannot read the cache entry {path} ({_reason(error)}). Computing it again.")
            return None
        except (*_DAMAGE, SafetensorError) as error:
            self._on_problem(f"The cache entry {path} is damaged ({_reason(error)}). Computing it again.")
            self._unlink(path)
            return None
        with contextlib.suppress(OSError):  # an entry of another user
            os.utime(path)
        return value

    def _store(self, path: Path | None, write: Callable[[Path], None]) -> None:
        from safetensors import SafetensorError

        if path is None:
            return
        try:
            folder_below(path.parent.parent, path.parent.name)
            if path.is_symlink() or path.is_fifo():
                path.unlink()  # writing would go to their target
            with atomic_file(path) as unfinished:
                unfinished.touch()  # the errors of safetensors have no error number
                mode = unfinished.stat().st_mode
                write(unfinished)
                set_mode(unfinished, mode)
        except (OSError, SafetensorError) as error:
            problem = f"Cannot write to the cache ({path}: {_reason(error)}), so this result is not cached"
            if _is_refusal(error):
                problem = (
                    f"The cache folder {path.parent} is not writable ({_reason(error)}), so results are not cached"
                )
            self._report(error, "write", f"{problem}. Set HF_EMMS_CACHE to another folder.")

    def _unlink(self, path: Path) -> bool:
        """Delete a file. Returns False and reports the reason if that fails."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._report(error, "remove", f"Cannot remove {path} ({_reason(error)}).")
            return False
        return True

    def _report(self, error: Exception, action: str, problem: str) -> None:
        """Report a problem. Missing permissions are reported only once per action."""
        if _is_refusal(error):
            if action in self._refused:
                return
            self._refused.add(action)
        self._on_problem(problem)


NO_CACHE = Cache(None)


def default_cache(enabled: bool, on_problem: Callable[[str], None] = _LOG.debug) -> Cache:
    """Return the cache in `default_root`, or a cache that stores nothing if not `enabled`."""
    return Cache(default_root() if enabled else None, on_problem)


def _is_file(path: Path) -> bool:
    """Check that a path is a regular file: links could point outside the cache, and pipes could block."""
    try:
        check_kind(path, is_folder=False)
    except OSError:
        return False
    return True


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _REFUSALS


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return (reason.splitlines() or [type(error).__name__])[0]


def _write_arrays(path: Path, key: Key, arrays: Mapping[str, np.ndarray]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, path, {"key": json.dumps(dict(key)), "checksum": _checksum(contiguous)})


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        _check_key(path, json.loads(metadata["key"]))
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata.get("checksum") != _checksum(arrays):
        raise ValueError("its checksum differs")
    return arrays


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.reshape(-1).view("uint8").data)
    return digest.hexdigest()


def _write_json(path: Path, key: Key, value: Any) -> None:
    content = {"key": dict(key), "checksum": _json_checksum(value), "value": value}
    path.write_text(json.dumps(content))


def _read_json(path: Path) -> Any:
    content = json.loads(path.read_text())
    _check_key(path, content["key"])
    if content["checksum"] != _json_checksum(content["value"]):
        raise ValueError("its checksum differs")
    return content["value"]


def _check_key(path: Path, key: Key) -> None:
    """Raise a `ValueError` if the name of an entry does not match its key."""
    if digest_of(key) != path.stem:
        raise ValueError("its key differs")


def _json_checksum(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, allow_nan=False).encode(), digest_size=16).hexdigest()


def _read_key(path: Path) -> dict[str, Any]:
    """Read the key of an entry for listings. It is empty for damaged files, which the next use reports."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".json":
            return dict(json.loads(path.read_text())["key"])
        with safe_open(path, framework="numpy") as file:
            return dict(json.loads((file.metadata() or {})["key"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return {}
