"""The keys of cached results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from hf_emms.cache import Cache


def cached_keys(root: Path) -> list[dict[str, Any]]:
    """Return the key of each entry of a cache."""
    return [_key_of(entry.path) for entry in Cache(root).entries()]


def _key_of(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return json.loads(path.read_text())["key"]
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["key"])
