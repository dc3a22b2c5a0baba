"""Which fold a row belongs to: a hash of its group or of its features; neither order nor sharding can change it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from hf_emms.errors import EmmsError
from hf_emms.scoring.linalg import steps

# Sums are held for every fold.
MAX_FOLDS = 1000


def check_folds(folds: Any, seed: Any, fewest: int = 1) -> None:
    """Checks a number of folds and the seed of their assignment.

    Raises:
        EmmsError: no whole numbers, fewer than `fewest` folds, more than `MAX_FOLDS`, or a seed of more than 64 bits.
    """
    if not _is_whole(folds) or not fewest <= folds <= MAX_FOLDS:
        raise EmmsError(f"folds={folds!r}; it must be a whole number from {fewest} to {MAX_FOLDS}", "folds=5")
    if not _is_whole(seed) or not -(2**63) <= seed < 2**63:
        raise EmmsError(f"seed={seed!r}; it must be a whole number of at most 64 bits", "seed=0")


def assign_folds(groups: Any, folds: int, seed: int) -> np.ndarray:
    """Fold number of every row.

    Rows of one group share a fold, so no near-copy of a held-out row is fitted on.

    Args:
        groups: shape (N,), integers, strings or bytes.
        folds: number of folds, at least 1.
        seed: another seed gives another assignment.

    Returns:
        int16, shape (N,), values in 0..folds-1.

    Raises:
        EmmsError: groups of another type or shape.
    """
    keys = _group_keys(groups)
    if folds == 1:
        return np.zeros(len(keys), dtype=np.int16)
    return (_mix(keys ^ _mix(np.array([seed], dtype=np.int64).view(np.uint64))) % np.uint64(folds)).astype(np.int16)


def group_ids(groups: Any, rows: int) -> np.ndarray:
    """uint64 key of every row's group, of ids (N,).

    Raises:
        EmmsError: groups of another type, or not one a row.
    """
    keys = _group_keys(groups)
    if len(keys) != rows:
        raise EmmsError(
            f"groups has {len(keys):,} entries but features has {rows:,} rows",
            "pass one group id a row",
        )
    return keys


def groups_by_content(batches: Iterable[np.ndarray]) -> np.ndarray:
    """uint64 keys of groups that are rows of equal features, of batches (b, D1); of rows all equal, each is its own."""
    keys = np.concatenate([content_keys(batch) for batch in batches])
    return keys if (keys != keys[:1]).any() else np.arange(len(keys), dtype=np.uint64)


def content_keys(features: np.ndarray) -> np.ndarray:
    """uint64 hash of every row of features in float32, (N, D1) → (N,): the same in any batch and process."""
    keys = np.empty(len(features), dtype=np.uint64)
    for part, _ in steps(features.shape):
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(features[part], dtype=np.float32)
        keys[part] = np.fromiter(map(xxh3_64_intdigest, rows), np.uint64, count=len(rows))
    return keys


def _group_keys(groups: Any) -> np.ndarray:
    array = np.asarray(groups)
    if array.ndim != 1:
        raise EmmsError(f"groups has shape {array.shape}; it must be (N,)", "pass one group id a row")
    if array.dtype.kind == "u":
        return array.astype(np.uint64, copy=False)
    if array.dtype.kind in "ib":
        return array.astype(np.int64).view(np.uint64)
    if array.dtype.kind in "US" or all(isinstance(group, (str, bytes)) for group in array):
        return np.fromiter((_text_key(group) for group in array.tolist()), np.uint64, count=len(array))
    raise EmmsError(
        f"groups has dtype {array.dtype}; it must hold integers, strings or bytes",
        "groups = [str(group) for group in groups]",
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _text_key(group: str | bytes) -> int:
    raw = group.encode() if isinstance(group, str) else group
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def _mix(keys: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014): neighbouring ids land in unrelated folds."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
