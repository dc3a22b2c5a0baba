"""Moments of rows that stay on the device that made them: only their sums come back.

All sums are float64, products too. No setting of TF32 reaches them, they are at least as exact as those of `Moments`,
and for a GPU they are little beside the forwards, even where it has few float64 units: 4,096 rows x 768 features take
5 billion operations, the forwards of as many texts some thousand times more.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hf_emms.scoring.arrays import as_matrix
from hf_emms.scoring.folds import assign_folds
from hf_emms.scoring.label_basis import LabelTable, label_pairs
from hf_emms.scoring.moments import PRODUCT_ROWS, Moments, Sums


class DeviceMoments:
    """What `Moments` does, in torch on a device.

    Batches wait, uncopied, until they hold as many rows as wait in `Moments`; nothing is asked of the device before.

    Args:
        form: empty moments: the sizes, folds and label tables.
        device: where features are and sums are kept.
    """

    def __init__(self, form: Moments, device: torch.device) -> None:
        self._form = form
        self._device = device
        self._by_text = form.tables is not None
        self._pairs = [] if self._by_text else label_pairs(form.widths)
        folds, d1, q = form.folds, form.d1, form.label_size
        self._n = np.zeros(folds)
        self._x = self._zeros(folds, d1)
        self._xx = self._zeros(folds, d1, d1)
        self._y = self._zeros(folds, q)
        self._yx = self._zeros(folds, q, d1)  # the other way round than in `Sums`: rows are added to texts
        self._yy = self._zeros(folds, len(self._pairs), max(form.widths))
        self._origin_x = self._zeros(d1)
        self._origin_y = self._zeros(q)
        self._features: list[Tensor] = []
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, features: Tensor, places: np.ndarray, labels: LabelTable, groups: np.ndarray) -> None:
        """Takes in a batch. The features must not be written to afterwards.

        Args:
            features: float32 (b, D1), on the device or not.
            places: int64 (r,): which of the b features each of the r rows has.
            labels: of the r rows.
            groups: uint64 (r,), as in `Moments`.

        Raises:
            EmmsError: NaN or Inf among the features, found once enough rows are there.
        """
        before = sum(map(len, self._features))
        self._features.append(features)
        folds = assign_folds(groups, self._form.folds, self._form.seed)
        self._rows.append((places + before, self._form.label_rows(labels, np.arange(len(places))), folds))
        if sum(len(own) for own, _, _ in self._rows) > self._form.capacity:
            self._fold()

    def moments(self) -> Moments:
        """The moments of all rows so far, on the CPU.

        Raises:
            EmmsError: NaN or Inf among the features of the last rows.
        """
        self._fold()
        x, xx, y, yx, yy, origin_x, origin_y = (
            tensor.cpu().numpy().copy()
            for tensor in (self._x, self._xx, self._y, self._yx, self._yy, self._origin_x, self._origin_y)
        )
        xy = np.ascontiguousarray(yx.transpose(0, 2, 1))
        return self._form.with_sums(Sums(self._n.copy(), x, xx, y, xy, yy, origin_x, origin_y))

    def _fold(self) -> None:
        if not self._rows:
            return
        x = torch.cat([features.to(self._device) for features in self._features])
        if not torch.isfinite(x.sum()):
            as_matrix(x, "features")  # says where; a sum alone may overflow
        places, y, folds = (np.concatenate(parts) for parts in zip(*self._rows, strict=True))
        self._features, self._rows = [], []
        order = np.argsort(folds, kind="stable")
        chosen, labels = self._there(places[order]), self._there(y[order])
        if not self._n.any():
            # As in `Sums.add_rows`.
            self._origin_x = x[:PRODUCT_ROWS].mean(0, dtype=torch.float64)
            if not self._by_text:
                self._origin_y = labels[:PRODUCT_ROWS].mean(0, dtype=torch.float64)
        stops = np.cumsum(np.bincount(folds, minlength=self._form.folds)).tolist()
        for fold, (first, stop) in enumerate(pairwise([0, *stops])):
            for start in range(first, stop, PRODUCT_ROWS):
                rows = slice(start, min(start + PRODUCT_ROWS, stop))
                self._add(fold, x[chosen[rows]].double() - self._origin_x, labels[rows])

    def _add(self, fold: int, x: Tensor, y: Tensor) -> None:
        self._n[fold] += len(x)
        self._x[fold] += x.sum(0)
        self._xx[fold].addmm_(x.T, x)
        if self._by_text:
            # Not bincount, which would wait for the device to find the largest code.
            self._y[fold].index_add_(0, y, torch.ones(len(y), dtype=torch.float64, device=self._device))
            self._yx[fold].index_add_(0, y, x)
            return
        y = y.double()
        self._yx[fold].addmm_(y.T, x)
        centred = y - self._origin_y
        self._y[fold] += centred.sum(0)
        for total, pair in zip(self._yy[fold], self._pairs, strict=True):
            total[: pair.common] += (centred[:, pair.left] * centred[:, pair.right]).sum(0)

    def _there(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self._device)


def device_bytes(form: Moments) -> int:
    """About how much memory of a device the sums take, with what waits for them and is at work."""
    d1, q = form.d1, form.label_size
    columns = 0 if form.tables is not None else q
    waiting = 2 * 4 * form.capacity * d1  # as batches and as one
    work = 8 * PRODUCT_ROWS * (2 * d1 + 3 * columns)
    return 8 * form.folds * (d1 + q) * (d1 + 1) + waiting + work
