"""The keys of cached results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open


def cached_keys(root: Path) -> list[dict[str, Any]]:
    """Return the key of each entry of a cache."""
    return [_key_of(path) for path in cached_files(root)]


def cached_files(root: Path | None) -> list[Path]:
    """Return the files of the entries of a cache."""
    paths = [] if root is None else root.glob("*/*")
    return [path for path in paths if len(path.stem) == 64 and path.suffix in (".json", ".safetensors")]


def _key_of(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return json.loads(path.read_text())["key"]
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["key"])
