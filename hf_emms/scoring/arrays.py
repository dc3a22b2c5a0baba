"""Check the arrays that users pass, and assign rows to folds.

The fold of a row is a hash of its group or of its features. The order of rows and batches does not change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from hf_emms.errors import EmmsError
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.linalg import column_sums, row_blocks

# Memory grows with the number of folds.
MAX_FOLDS = 1000


def as_matrix(value: Any, name: str) -> np.ndarray:
    """Convert an array or a torch tensor to a float array of shape (rows, columns). Error messages use `name`.

    Half precision, bfloat16 and float32 become float32. Integers and booleans become float64.
    """
    array = _as_float_array(value, name)
    if array.ndim != 2 or 0 in array.shape:
        raise EmmsError(
            "wrong-shape",
            f"{name} has shape {array.shape}; it must be 2-D with at least one row and one column",
            f"pass {name} as (rows, columns): a row for each sample",
        )
    _check_finite(array, name)
    return array


def as_labels(value: Any, rows: int) -> LabelTable:
    """Convert the label embeddings of N rows to a table: (N, D2), (N, K, D2), K arrays (N, D2_k) or a `LabelTable`."""
    if isinstance(value, LabelTable):
        for k, table in enumerate(value.tables):
            as_matrix(table, f"label_embeddings.tables[{k}]")
        _check_rows(len(value), rows, "label_embeddings", f"{len(value):,} codes")
        return value
    if isinstance(value, (list, tuple)) and len(value) and np.ndim(value[0]) == 2:
        blocks = [as_matrix(block, f"label_embeddings[{k}]") for k, block in enumerate(value)]
    else:
        blocks = _split(_as_float_array(value, "label_embeddings"))
    for k, block in enumerate(blocks):
        _check_rows(len(block), rows, f"label_embeddings[{k}]", f"shape {block.shape}")
    return LabelTable.of_rows(blocks)


def _split(array: np.ndarray) -> list[np.ndarray]:
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise EmmsError(
            "wrong-shape",
            f"label_embeddings has shape {array.shape}; it must be (N, D2), (N, K, D2), "
            "a list of (N, D2_k) arrays or a LabelTable",
            "for class ids build a LabelTable(codes, tables), or call hf_emms.score(features, class_ids)",
        )
    _check_finite(array, "label_embeddings")
    array = f_labels(array)
    return [array] if array.ndim == 2 else [array[:, k] for k in range(array.shape[1])]


def f_labels(array: np.ndarray) -> np.ndarray:
    """Return label embeddings as (rows, K, D2). The paper's order is (rows, D2, K); the shorter axis is K."""
    return array.swapaxes(1, 2) if array.ndim == 3 and array.shape[1] > array.shape[2] else array


def _check_rows(count: int, rows: int, name: str, what: str) -> None:
    if count != rows:
        raise EmmsError(
            "different-lengths",
            f"{name} has {what} but features has {rows:,} rows",
            "pass a label for each feature row, in the same order",
        )


def as_numpy(value: Any) -> np.ndarray:
    """Convert a torch tensor, or anything that NumPy converts, to an array. Half-precision tensors become float32."""
    if hasattr(value, "detach"):  # a torch tensor, recognized without importing torch
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() and value.dtype.itemsize < 4 else value).numpy()
    if np.ma.is_masked(value):
        raise EmmsError(
            "masked-values",
            f"{int(np.ma.getmaskarray(value).sum())} values of the array are masked and cannot be scored",
            "remove those rows, or fill them with array.filled(0)",
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise EmmsError(
            "wrong-shape", f"the rows are not a rectangular array: {error}", "give every row the same length"
        ) from None


def _as_float_array(value: Any, name: str) -> np.ndarray:
    array = as_numpy(value)
    if array.dtype in (np.float32, np.float64):
        return array
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np.float64 if array.dtype == np.longdouble else np.float32)
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    raise EmmsError(
        "wrong-type",
        f"{name} has dtype {array.dtype} and shape {array.shape}; it must contain real numbers",
        f"convert it first, for example with {name} = np.asarray({name}, dtype=np.float32)",
    )


def _check_finite(array: np.ndarray, name: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        # The sum is cheap. The exact check runs only if it is not finite.
        total = column_sums(array.reshape(len(array), -1)) if array.flags.c_contiguous else array
        if np.isfinite(total.sum()):
            return
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(axis[0]) for axis in np.nonzero(bad))
        raise EmmsError(
            "not-finite",
            f"{name} of shape {array.shape} contains {int(bad.sum())} NaN or Inf values, the first at {where}",
            "remove those rows from features and labels, or compute the features in float32: half precision overflows",
        )


def check_folds(folds: Any, seed: Any, fewest: int = 1) -> None:
    """Raise an `EmmsError` unless `folds` is from `fewest` to `MAX_FOLDS` and `seed` is an integer of 64 bits."""
    if not _is_whole(folds) or not fewest <= folds <= MAX_FOLDS:
        raise EmmsError(
            "invalid-value", f"folds={folds!r}; it must be a whole number from {fewest} to {MAX_FOLDS}", "folds=5"
        )
    if not _is_whole(seed) or not -(2**63) <= seed < 2**63:
        raise EmmsError("invalid-value", f"seed={seed!r}; it must be a whole number of at most 64 bits", "seed=0")


def assign_folds(groups: Any, folds: int, seed: int) -> np.ndarray:
    """Return the fold of every row, int16 (N,), from its group: (N,) integers, strings or bytes."""
    keys = group_ids(groups)
    if folds == 1:
        return np.zeros(len(keys), dtype=np.int16)
    return (_mix(keys ^ _mix(np.array([seed], dtype=np.int64).view(np.uint64))) % np.uint64(folds)).astype(np.int16)


def group_ids(groups: Any, rows: int | None = None) -> np.ndarray:
    """Hash the group id of every row, (N,), to a uint64 key. Checks N if `rows` is named."""
    array = as_numpy(groups)
    if array.ndim != 1:
        raise EmmsError(
            "wrong-shape", f"groups has shape {array.shape}; it must be (N,)", "pass a group id for each row"
        )
    if rows is not None and len(array) != rows:
        raise EmmsError(
            "different-lengths",
            f"groups has {len(array):,} entries but features has {rows:,} rows",
            "pass a group id for each row",
        )
    if array.dtype.kind == "u":
        return array.astype(np.uint64)
    if array.dtype.kind in "ib":
        return array.astype(np.int64).view(np.uint64)
    if all(isinstance(group, (str, bytes)) for group in array):
        texts = (group.encode() if isinstance(group, str) else group for group in array.tolist())
        digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
        return np.frombuffer(digests, "<u8").astype(np.uint64)
    raise EmmsError(
        "wrong-type",
        f"groups has dtype {array.dtype}; it must contain integers, strings or bytes",
        "groups = [str(group) for group in groups]",
    )


def groups_by_content(batches: Iterable[np.ndarray]) -> np.ndarray:
    """Return a uint64 group key per row, (N,). Rows of equal features share a key, unless all rows are equal."""
    keys = np.concatenate([content_keys(batch) for batch in batches])
    return keys if (keys != keys[:1]).any() else np.arange(len(keys), dtype=np.uint64)


def content_keys(features: np.ndarray) -> np.ndarray:
    """Hash every row of features (N, D1) in float32 to uint64 (N,). The hash is the same in any batch and process."""
    keys = np.empty(len(features), dtype=np.uint64)
    for part, _ in row_blocks(features.shape):
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(features[part], dtype=np.float32)
        keys[part] = np.fromiter(map(xxh3_64_intdigest, rows), np.uint64, count=len(rows))
    return keys


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _mix(keys: np.ndarray) -> np.ndarray:
    """Mix keys with the finaliser of splitmix64 (Steele et al. 2014), so that neighboring ids get unrelated folds."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
