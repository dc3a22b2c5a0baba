"""The ratio of two sums over rows, with a standard error over groups."""

from __future__ import annotations

import numpy as np

from hf_emms.scoring import Score

# Folds of groups, by which checkpoints are compared.
_FOLDS = 5


def ratio(counts: np.ndarray, groups: np.ndarray, row_limit: int | None = None) -> Score:
    """Divide the sum of the first column of `counts` (n, 2) by the sum of the second.

    The standard error is over groups (n,). `row_limit` is the maximum of scored rows, for the details.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    sums = np.zeros((group_of.max() + 1, 2))
    np.add.at(sums, group_of, counts)
    total, size = sums.sum(0)
    value = float(total / size)
    residuals = sums[:, 0] - value * sums[:, 1]
    n = len(sums)
    stderr = float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / size) if n > 1 else None
    fold_of = np.arange(n) % _FOLDS
    limited = row_limit is not None and len(counts) >= row_limit
    details = {"rows": len(counts)} | ({"row_limit": row_limit} if limited else {})
    parts = [sums[fold_of == fold].sum(0) for fold in range(min(_FOLDS, n))]
    return Score(value, stderr, tuple(float(part[0] / part[1]) for part in parts), details)
