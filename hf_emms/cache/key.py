"""Keys of cached results. A key contains everything that changes the result, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# The result of `cache_key`, which JSON can store.
Key = Mapping[str, Any]

# Part of every digest. Increase it if the content of entries changes.
LAYOUT_VERSION = 1


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
        id: The repository that the result is of; ``hf-emms cache`` lists and removes entries by it.
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
