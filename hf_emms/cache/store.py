"""The cache: a folder with a file per result.

A key contains everything that changes the result, and nothing else. Each entry is a file, named by the SHA-256 of its
key: safetensors for arrays, JSON for finished rows. It contains its key and a checksum. Damaged entries, or entries in
an unexpected form, are removed and computed again. Entries that this user cannot read stay, and links are not followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hf_emms.cache.files import check_kind, folder_below, write_atomic

if TYPE_CHECKING:
    import numpy as np

# The result of `cache_key`, which JSON can store.
Key = Mapping[str, Any]
# Part of every digest. Increase it if the content of entries changes.
LAYOUT_VERSION = 1
# Exceptions while decoding a file of any content.
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, msgspec.MsgspecError)
T = TypeVar("T")
_LOG = logging.getLogger(__name__)


def cache_key(
    kind: str,
    id: str,
    revision: str | None = None,
    *settings: Mapping[str, Any],
    versions: Mapping[str, str] | None = None,
    code: int | None = None,
    **inputs: Any,
) -> Key:
    """Build the key of a cached result.

    Args:
        kind: The folder of the cache: "samples", "features", "labels", "rows", "finetunings", …
        id: The repository that the result is of.
        revision: Its commit, or the digest of a folder.
        settings: Name → value of the settings that change the result, see `OptionsPart.in_keys`.
        versions: Package → version, of the packages whose version changes the result.
        code: A number that is increased when the same inputs produce another result.
        inputs: Name → what else changes the result: digests of data, and plain values that JSON can represent.
    """
    key = {"kind": kind, "id": id, "revision": revision, "versions": versions, "code": code, **inputs}
    key["settings"] = {name: value for part in settings for name, value in part.items()}
    return {name: value for name, value in key.items() if value not in (None, {})}


def digest_of(key: Key) -> str:
    """Return the SHA-256 of a key in canonical JSON, as 64 hex digits."""
    text = json.dumps({**key, "layout": LAYOUT_VERSION}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def default_root() -> Path:
    """Return the cache folder: ``HF_EMMS_CACHE``, or ``emms`` in the Hugging Face home folder."""
    if os.environ.get("HF_EMMS_CACHE"):
        return Path(os.environ["HF_EMMS_CACHE"]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "emms"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "emms"


class Cache:
    """A folder of results that several processes may use at once."""

    def __init__(self, root: Path | None, on_problem: Callable[[str], None] = _LOG.warning) -> None:
        self.root = root  # created on first use; None stores nothing
        self._on_problem = on_problem  # called with messages about damaged or inaccessible entries
        self._failed: set[str] = set()  # failed actions that were reported

    def get(self, key: Key, made_of: Callable[[dict[str, np.ndarray]], T]) -> T | None:
        """Read the arrays that are stored for a key, and convert them by `made_of`.

        Returns None if they are missing or damaged.

        If `made_of` raises an exception, the entry counts as damaged.
        """
        return self._load(self._path(key, "safetensors"), lambda path: made_of(_read_arrays(path)))

    def holds(self, key: Key) -> bool:
        """Check whether arrays are stored for a key, without reading them."""
        path = self._path(key, "safetensors")
        return path is not None and path.is_file()

    def put(self, key: Key, arrays: Mapping[str, np.ndarray]) -> None:
        """Store named arrays for a key. Write errors are reported and not raised."""
        self._store(self._path(key, "safetensors"), lambda: _array_bytes(key, arrays))

    def get_json(self, key: Key, made_of: Callable[[Any], T]) -> T | None:
        """Read the JSON value of a key and convert it by `made_of`, see `get`."""
        return self._load(self._path(key, "json"), lambda path: made_of(_read_json(path)))

    def put_json(self, key: Key, value: Any) -> None:
        """Store a JSON value for a key. Write errors are reported and not raised."""
        self._store(self._path(key, "json"), lambda: _json_bytes(key, value))

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
            self._report("read", f"Cannot read the cache entry {path} ({_reason(error)}). Computing it again.")
            return None
        except (*_DAMAGE, SafetensorError) as error:
            self._on_problem(f"The cache entry {path} is damaged ({_reason(error)}). Computing it again.")
            self._unlink(path)
            return None
        with contextlib.suppress(OSError):  # an entry of another user
            os.utime(path)
        return value

    def _store(self, path: Path | None, make: Callable[[], bytes]) -> None:
        if path is None:
            return
        try:
            folder_below(path.parent.parent, path.parent.name)
            if path.is_symlink() or path.is_fifo():
                path.unlink()  # writing would go to their target
            write_atomic(path, make())
        except OSError as error:
            problem = f"Cannot write to the cache folder {path.parent} ({_reason(error)}), so results are not cached."
            self._report("write", f"{problem} Set HF_EMMS_CACHE to another folder.")

    def _unlink(self, path: Path) -> bool:
        """Delete a file. Returns False and reports the reason if that fails."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._report("remove", f"Cannot remove {path} ({_reason(error)}).")
            return False
        return True

    def _report(self, action: str, problem: str) -> None:
        """Report the first problem of an action."""
        if action not in self._failed:
            self._failed.add(action)
            self._on_problem(problem)


NO_CACHE = Cache(None)


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return (reason.splitlines() or [type(error).__name__])[0]


def _array_bytes(key: Key, arrays: Mapping[str, np.ndarray]) -> bytes:
    import numpy as np
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content: bytes = save(contiguous, {"key": json.dumps(dict(key)), "checksum": _checksum(contiguous)})
    return content


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


def _json_bytes(key: Key, value: Any) -> bytes:
    return json.dumps({"key": dict(key), "checksum": _json_checksum(value), "value": value}).encode()


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
