"""EMMS with two heads: ridge regression and the mean label of the nearest rows, stacked by held-out loss.

Full fine-tuning bends the features, which a linear map cannot foresee: of two checkpoints from which a ridge explains
the labels equally well, the one where rows of like labels lie together tends to fine-tune better (docs/quality.md).
For fold f each head h leaves residuals E_h of the fold's rows, fitted on the rest; with w on the simplex of heads and
t on that of F-labels the loss is Σ_f ‖Σ_h w_h E_h t‖², least over both (stacked regression: Breiman 1996).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hf_emms.scoring.arrays import Labels
from hf_emms.scoring.baselines import nearest
from hf_emms.scoring.cross_validation import held_out_solution, ridge_solve
from hf_emms.scoring.folds import assign_folds
from hf_emms.scoring.linalg import minimise_quadratic
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.objective import Solution
from hf_emms.scoring.standardise import Standardised, rotate_rows, standardise, standardise_rows

# Fewer than k-NN alone takes, as the ridge has averaged the noise already: best of 1, 3, 5, 7, 10, 20 and 40 on the dev
# half of docs/quality.md.
NEIGHBOURS = 3
# Heads and F-labels are weighed in turn; each turn lowers the loss, most of it in the first two.
MAX_ITER = 20
TOL = 1e-6
# Rows whose labels are held as columns at a time.
BLOCK = 2_048


@dataclass(frozen=True)
class Stacked:
    """A held-out score of both heads together.

    Attributes:
        solution: the score, its standard error, weights and ridge.
        neighbours: weight of the neighbours' head; that of the ridge is the rest.
    """

    solution: Solution
    neighbours: float


@dataclass(frozen=True)
class _Rows:
    """Standardised rows with their labels in the basis of the targets.

    Attributes:
        x: (n, D).
        folds: (n,).
        y: numbers of r rows to their labels: (r, q) standardised columns, or indicators of q texts.
    """

    x: np.ndarray
    folds: np.ndarray
    y: Callable[[np.ndarray], np.ndarray]

    @cached_property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each row, rows of other folds and how much each of them counts: (n, k)."""
        found, usable = nearest(self.x, self.folds, NEIGHBOURS)
        return found, (usable / usable.sum(axis=1, keepdims=True)).astype(self.x.dtype)

    def near(self, rows: np.ndarray) -> np.ndarray:
        """The mean label of the neighbours of some rows, (r, q)."""
        found, shares = (part[rows].T for part in self.neighbours)
        total = self.y(found[0]) * shares[0][:, None]
        for one, share in zip(found[1:], shares[1:], strict=True):
            total += self.y(one) * share[:, None]
        return total


def stack(x: np.ndarray, labels: Labels, groups: np.ndarray, *, folds: int, seed: int, ridge: float) -> Stacked:
    """Score features by both heads.

    Args:
        x: float (N, D1), checked.
        labels: one a row, checked.
        groups: (N,), what near-copies share; rows of one group share a fold.
        folds: number of folds F.
        seed: of the assignment of groups to folds.
        ridge: strength of the ridge, relative to unit-variance features: what `cross_validate` found best.

    Raises:
        EmmsError: labels that do not vary, or rows in one fold only.
    """
    statistics, rows = _prepared(x, labels, groups, folds, seed)
    products = np.stack(list(_products(statistics, rows, ridge)))
    heads, weights = _least(products.sum(axis=0))
    residual = np.einsum("h,fhgjk,g->fjk", heads, products, heads)
    return Stacked(held_out_solution(statistics, residual, weights, ridge), float(heads[1]))


def _prepared(x: np.ndarray, labels: Labels, groups: np.ndarray, folds: int, seed: int) -> tuple[Standardised, _Rows]:
    x, _ = standardise_rows(x)
    if len(x) < x.shape[1]:
        x = rotate_rows(x)
    moments = Moments.like(labels, x.shape[1], folds=folds, seed=seed)
    moments.update_checked(x, labels, groups)
    statistics = standardise(moments, scaled=True)
    scale = statistics.y_scale.astype(x.dtype)
    texts = None if moments.tables is None else np.eye(moments.label_size, dtype=x.dtype)

    def y(rows: np.ndarray) -> np.ndarray:
        own = moments.label_rows(labels, rows)
        return own * scale if texts is None else texts[own]

    return statistics, _Rows(x, assign_folds(groups, folds, seed), y)


def _products(statistics: Standardised, rows: _Rows, ridge: float) -> Iterator[np.ndarray]:
    """Of every filled fold the sums of products of residuals, of each head with each: (2, 2, K, K)."""
    sums, targets = statistics.sums, statistics.working_targets
    x, y = sums.x + sums.n[:, None] * sums.origin_x, sums.whole_y * statistics.y_scale
    for number in statistics.filled:
        fold, rest = statistics.fold(number), statistics.n - sums.n[number]
        mean_x, mean_y = ((side.sum(axis=0) - side[number]) / rest for side in (x, y))
        solution = ridge_solve(fold.xx.rest, fold.xy.rest, fold.rest * ridge, spend=True)
        # The ridge's guess is x·W and this, a row of its own.
        offset = (mean_y - mean_x @ solution).astype(solution.dtype)
        total = np.zeros((2, 2, targets.k, targets.k))
        held = np.flatnonzero(rows.folds == number)
        for part in np.split(held, range(BLOCK, len(held), BLOCK)):
            label = rows.y(part)
            left = label - rows.x[part] @ solution - offset, label - rows.near(part)
            total += [[targets.inner(one, other) for other in left] for one in left]
        yield total


def _least(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the heads (H,) and of the F-labels (K,) with the least loss, of sums (H, H, K, K)."""
    heads = np.full(len(products), 1.0 / len(products))
    for _ in range(MAX_ITER):
        weights = minimise_quadratic(np.einsum("h,hgjk,g->jk", heads, products, heads))
        before, heads = heads, minimise_quadratic(np.einsum("j,hgjk,k->hg", weights, products, weights))
        if np.abs(heads - before).max() < TOL:
            break
    return heads, weights
