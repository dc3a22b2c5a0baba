"""Which rows are drawn first. A sample of N rows is the first N that can be read in this order."""

from __future__ import annotations

import numpy as np


def balanced_order(keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One row of every class, then a second of every class, and so on.

    A prefix holds every class equally often as far as its rows reach; the left-over goes evenly to the others.

    Args:
        keys: uint64, shape (N,): random by content; decides within a class.
        classes: int64, shape (N,): the class of each row.

    Returns:
        int64, shape (N,): row numbers.
    """
    rank, _ = _rank_within_class(keys, classes)
    return np.lexsort((keys, rank))


def proportional_order(keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Rows such that every prefix holds the classes in the dataset's proportions, to within a row or so.

    Args:
        keys: uint64, shape (N,): random by content; decides within a class.
        classes: int64, shape (N,): the class of each row.

    Returns:
        int64, shape (N,): row numbers.
    """
    rank, count = _rank_within_class(keys, classes)
    return np.lexsort((keys, (rank + 0.5) / count))


def plain_order(keys: np.ndarray) -> np.ndarray:
    """Rows by key alone: rows of the same key (the same input) stay together.

    Args:
        keys: uint64, shape (N,).

    Returns:
        int64, shape (N,): row numbers.
    """
    return np.argsort(keys, kind="stable")


def _rank_within_class(keys: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's place among its class by key, and the size of its class."""
    by_class = np.lexsort((keys, classes))
    _, start, count = np.unique(classes[by_class], return_index=True, return_counts=True)
    rank = np.empty(len(keys), dtype=np.int64)
    rank[by_class] = np.arange(len(keys)) - np.repeat(start, count)
    size = np.empty(len(keys), dtype=np.int64)
    size[by_class] = np.repeat(count, count)
    return rank, size
