"""k-NN as a control, and EMMS with two base learners: a ridge regression and the mean label of the nearest rows.

Full fine-tuning changes features in ways that a linear map cannot predict. If a ridge explains the labels equally well
from two checkpoints, the checkpoint with nearer rows of similar labels tends to fine-tune better (docs/evidence.md).
Each base learner b, fitted on the other folds, has residuals E_b on the rows of fold f. The loss Σ_f ‖Σ_b w_b E_b t‖²
is minimized over weights w of base learners and t of label embeddings, both on the simplex (stacked regression, Breiman
1996).

Cross-validation yields the products of the ridge's residuals over all rows. Let G be each label minus the mean label of
its neighbors. Products of both residuals are <Y − m_y, G> − <W, (X − m_x)ᵀG>, so that no row has to be predicted.

Neighbors are searched in a sample of rows, for the rows of the sample. The gain over the ridge on the sample is scaled
to all rows and combined with the ridge's residuals on all rows (the ridge is a control variate).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.linalg import get_blas_funcs, qr
from scipy.sparse import csr_array

from hf_emms.errors import EmmsError
from hf_emms.scoring import Score
from hf_emms.scoring.arrays import content_keys
from hf_emms.scoring.cross_validation import RidgeFit, held_out_score
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.linalg import CONSTANT_ROUNDINGS, as_slice, cross, minimize_quadratic, product, symmetric
from hf_emms.scoring.standardize import FoldStats, Standardized
from hf_emms.scoring.sums import Examples, smallest_keys

# Nearest rows of k-NN.
K = 10
# Maximum of rows in which k-NN searches neighbors. The cost then grows with N and not with its square.
MAX_CANDIDATES = 20_000
# Similarities per step, which stay in cache during the search for the largest.
STEP = 2**21

# Fewer than in k-NN alone, as the ridge already averages the noise. The best of 1, 3, 5, 7, 10, 20 and 40 on the
# development half of docs/evidence.md.
NEIGHBORS = 3
# Principal components for the search of neighbors, and the passes over XᵀX to compute them (Halko et al. 2011,
# algorithm 4.4).
COMPONENTS = 128
PASSES = 4
# The weights of base learners and label embeddings are optimized in turn. The first two turns reduce the loss most.
MAX_ITER = 20
TOL = 1e-6
# Rows per block of label columns.
BLOCK = 2_048


def knn(rows: tuple[np.ndarray, LabelTable, np.ndarray]) -> Score:
    """Predict each row's label from the `K` nearest rows of other groups by cosine.

    For classes, the score is the accuracy of the majority vote of the neighbors N(i). The nearest row decides ties.
    Otherwise it is R² of the mean, 1 − Σ_i ‖z_i − mean_{j∈N(i)} z_j‖² / Σ_i ‖z_i‖², with z (N, ΣD2_k) standardized.
    Rows are features (N, D1), labels and groups (N,). The standard error is over rows.

    Source: Cover and Hart 1967; as a transferability score, a control that beats most others: arXiv 2503.18528.
    """
    features, labels, groups = rows
    group_numbers = np.unique(groups, return_inverse=True)[1]
    neighbors, usable = nearest(features - features.mean(axis=0), group_numbers, K, raw=features)
    if labels.categorical:
        return _vote(labels.codes, neighbors, usable, labels.n_texts)
    places = as_slice(labels.codes)
    return _mean_label([table[places] for table in labels.tables], neighbors, usable)


def nearest(
    features: np.ndarray, groups: np.ndarray, k: int, *, most: int = MAX_CANDIDATES, raw: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of each row's k nearest rows of other groups, nearest first, and which of them exist.

    Both have the shape (N, min(k, N − 1)). Rows are compared by the cosine of centered features (N, D1). At most `most`
    rows can be neighbors, chosen by a hash of their `raw` features.
    """
    rows = len(features)
    k = min(k, rows - 1, most)
    if k < 1 or (groups == groups[0]).all():
        raise EmmsError(
            "one-group", f"all {rows} rows are in one group, so k-NN finds no neighbor outside it", "pass more groups"
        )
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, np.finfo(features.dtype).tiny)
    candidates = np.arange(rows)
    if rows > most:  # independent of the order of rows
        candidates = smallest_keys(content_keys(features if raw is None else raw), most)
    # Sorted by group, each group is a contiguous run of the candidates.
    order = np.argsort(groups, kind="stable")
    candidates = candidates[np.argsort(groups[candidates], kind="stable")]
    theirs, their_groups = unit[candidates], groups[candidates]
    (multiply,) = get_blas_funcs(("gemm",), (unit,))
    neighbors, closeness = np.empty((rows, k), dtype=np.int64), np.empty((rows, k), dtype=unit.dtype)
    step = math.ceil(STEP / len(candidates))
    for start in range(0, rows, step):
        part = order[start : start + step]
        similarity = multiply(1.0, theirs.T, unit[part].T, trans_a=True).T
        present, first = np.unique(groups[part], return_index=True)
        ends = (np.searchsorted(their_groups, present, side) for side in ("left", "right"))
        for left, right, top, bottom in zip(*ends, first, (*first[1:], len(part)), strict=True):
            similarity[top:bottom, left:right] = -np.inf
        places = np.arange(len(part))
        for column in range(k):
            best = similarity.argmax(axis=1)
            neighbors[part, column] = candidates[best]
            closeness[part, column] = similarity[places, best]
            similarity[places, best] = -np.inf
    return neighbors, np.isfinite(closeness)


def _vote(codes: np.ndarray, neighbors: np.ndarray, usable: np.ndarray, classes: int) -> Score:
    rows, k = neighbors.shape
    ballots = np.zeros((rows, classes))
    # All together are less than one vote, and each is more than all further ones, so the nearest row decides a tie.
    tie_breakers = 0.5 ** np.arange(1, k + 1)
    np.add.at(ballots, (np.arange(rows)[:, None], codes[neighbors]), usable * (1.0 + tie_breakers))
    hit = ballots.argmax(axis=1) == codes
    return Score(float(hit.mean()), float(hit.std(ddof=1) / np.sqrt(rows)))


def _mean_label(blocks: list[np.ndarray], neighbors: np.ndarray, usable: np.ndarray) -> Score:
    weight = usable / np.maximum(usable.sum(axis=1, keepdims=True), 1)
    loss, null_loss = np.zeros(len(neighbors)), np.zeros(len(neighbors))
    for block in blocks:
        z = _standardized(block)
        if not z.shape[1]:
            raise EmmsError(
                "labels-all-equal", "a label embedding is the same in all rows, so k-NN has nothing to explain"
            )
        guess = sum(weight[:, i, None] * z[neighbors[:, i]] for i in range(neighbors.shape[1]))
        loss += ((z - guess) ** 2).mean(axis=1)
        null_loss += (z**2).mean(axis=1)
    share = loss / null_loss.mean()
    return Score(float(1.0 - share.mean()), float(share.std(ddof=1) / np.sqrt(len(share))))


def _standardized(block: np.ndarray) -> np.ndarray:
    """Standardize columns and drop constant ones: (N, D2) → (N, ≤ D2)."""
    mean = block.mean(axis=0, dtype=np.float64)
    deviation = block.std(axis=0, dtype=np.float64)
    eps = np.finfo(np.result_type(block, np.float32)).eps
    varies = deviation > CONSTANT_ROUNDINGS * eps * np.hypot(mean, deviation)
    return ((block[:, varies] - mean[varies]) / deviation[varies]).astype(np.result_type(block, np.float32))


def stack(statistics: Standardized, fit: RidgeFit, rows: Examples) -> Score:
    """Return the held-out score of ridge and neighbors together. The details contain the weight of the neighbors.

    `rows` are all rows or a sample. They are rotated if the rows of `statistics` are.
    """
    neighbors, usable = nearest(components(statistics, rows), rows.folds, NEIGHBORS, most=len(rows))
    shares = usable / usable.sum(axis=1, keepdims=True)
    folds = range(len(statistics.filled))
    products = np.stack([_products(statistics, rows, fit, fold, neighbors, shares) for fold in folds])
    learners, weights = _simplex_least_squares(products.sum(axis=0))
    residual = np.einsum("b,fbcjk,c->fjk", learners, products, learners)
    score = held_out_score(statistics, residual, weights, fit.ridge)
    return replace(score, details={**score.details, "neighbors": float(learners[1])})


def components(statistics: Standardized, rows: Examples) -> np.ndarray:
    """Return the first principal components (N, P) of standardized features, or all features if few or rotated."""
    axes = None  # axes of rotated rows would depend on the order of rows
    if len(statistics.x_scale) > COMPONENTS and statistics.rotated is None:
        axes = principal_axes(statistics.xx).astype(rows.x.dtype)
    parts = np.split(np.arange(len(rows)), range(BLOCK, len(rows), BLOCK))
    features = (statistics.features(rows, part) for part in parts)
    return np.concatenate([part if axes is None else product(part, axes) for part in features])


def principal_axes(xx: np.ndarray) -> np.ndarray:
    """Approximate the first eigenvectors of XᵀX, (D, COMPONENTS), from its upper triangle (D, D)."""
    gram = symmetric(xx)
    axes = np.random.default_rng(0).standard_normal((len(gram), COMPONENTS)).astype(gram.dtype)
    for _ in range(PASSES):
        axes = np.ascontiguousarray(qr(product(gram, axes), mode="economic")[0])
    return axes


def _products(
    statistics: Standardized, rows: Examples, fit: RidgeFit, number: int, neighbors: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Sum products of the base learners' residuals over a filled fold, (2, 2, K, K).

    `neighbors` (N, k) are the row numbers of each row's neighbors. Their weights `shares` (N, k) sum to 1.
    """
    sums, basis, solution = statistics.sums, statistics.basis, fit.solutions[number]
    fold = int(statistics.filled[number])
    dtype, mean_x = rows.x.dtype, FoldStats.of(fold, sums.n, sums.x, statistics.x_scale).shift
    mean_y = FoldStats.of(fold, sums.n, sums.whole_y, basis.scale).train_mean
    near, both, linear = np.zeros((3, basis.k, basis.k))
    total, of_gaps = np.zeros(basis.size), np.zeros(solution.shape, solution.dtype)
    test = np.flatnonzero(rows.folds == fold)
    sampled = len(rows) < statistics.n
    for part in np.split(test, range(BLOCK, len(test), BLOCK)):
        selves = csr_array((np.ones(len(part)), (np.arange(len(part)), part)), (len(part), len(rows)))
        places = np.repeat(np.arange(len(part)), neighbors.shape[1])
        others = csr_array((shares[part].ravel(), (places, neighbors[part].ravel())), selves.shape)
        labels, gaps = (
            basis.combine(weights.astype(dtype), rows.labels, dtype) for weights in (selves, selves - others)
        )
        near += basis.inner(gaps, gaps)
        both += basis.inner(labels, gaps)
        total += gaps.sum(axis=0)
        features = statistics.features(rows, part) - mean_x.astype(dtype)
        of_gaps += cross(features, gaps)
        if sampled:
            left = labels - (product(features, solution) + mean_y.astype(dtype))
            linear += basis.inner(left, left)
    both -= basis.inner(mean_y[None], total[None]) + basis.inner(solution, of_gaps)
    if sampled:
        # A fold without sampled rows says nothing about the neighbors.
        scale = sums.n[fold] / max(len(test), 1)
        both, near = (fit.residual[number] + scale * (product - linear) for product in (both, near))
    return np.array([[fit.residual[number], both], [both.T, near]])


def _simplex_least_squares(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of base learners (B,) and label embeddings (K,) with the least loss, from (B, B, K, K)."""
    learners = np.full(len(products), 1.0 / len(products))
    for _ in range(MAX_ITER):
        weights = minimize_quadratic(np.einsum("b,bcjk,c->jk", learners, products, learners))
        before, learners = learners, minimize_quadratic(np.einsum("j,bcjk,k->bc", weights, products, weights))
        if np.abs(learners - before).max() < TOL:
            break
    return learners, weights
