"""What fine-tuning a shortlist would have given: a replay of the committed fine-tunings.

A candidate is confirmed by one run at each of its learning rates with one seed; the best validation score picks. Regret
is of the truth, the mean over seeds, in points; every figure is the mean over both seeds that all candidates have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from scripts.quality.results import TargetResult

ESTIMATOR = "emms_knn"
SEEDS = (0, 1)
# Of the Gaussian process: the share of a candidate's variance that runs alone explain, and the length of its kernel in
# standardised scores elsewhere. Set before any regret was looked at.
NOISE, LENGTH = 0.1, 1.0


@dataclass(frozen=True)
class Confirmed:
    """The replay of one way to choose what is run.

    Attributes:
        regret: the best truth minus that of the pick, in points.
        runs: fine-tunings.
        seconds: of them.
    """

    regret: float
    runs: float
    seconds: float


Kernel = Callable[[TargetResult], np.ndarray]


def replayed(target: TargetResult, count: int, *, by_process: Kernel | None = None) -> Confirmed:
    """Confirms so many candidates of a target; none: the estimate's first is picked.

    Args:
        target: whose runs are replayed.
        count: how many candidates.
        by_process: the kernel (n, n) of a Gaussian process that chooses the candidates; without it the estimate's
            order does.
    """
    scores = _scores(target)
    seeds = [seed for seed in SEEDS if target.by_seed(seed) is not None]
    order = [target.candidates[i] for i in np.argsort(-scores, kind="stable")]
    best, found = max(target.truth.values()), []
    for seed in seeds:
        runs = {name: [run for run in target.runs[name] if run[1] == seed] for name in order}
        validation = {name: max(run[2] for run in own) for name, own in runs.items()}
        chosen = order[:count]
        if by_process is not None:
            chosen = list(_by_process(target, scores, validation, count, by_process(target)))
        pick = max(chosen, key=lambda name: validation[name]) if chosen else order[0]
        spent = [run for name in chosen for run in runs[name]]
        found.append((best - target.truth[pick], len(spent), sum(run[4] for run in spent)))
    return Confirmed(*(float(value) for value in np.mean(found, axis=0)))


def mean_of(results: Sequence[Confirmed]) -> Confirmed:
    """The mean over targets; runs and seconds too."""
    return Confirmed(
        *(float(np.mean([getattr(one, name) for one in results])) for name in ("regret", "runs", "seconds"))
    )


def _scores(target: TargetResult) -> np.ndarray:
    return np.mean(target.scores(ESTIMATOR), axis=0)


def _by_process(
    target: TargetResult,
    scores: np.ndarray,
    validation: dict[str, float],
    count: int,
    kernel: np.ndarray,
) -> Iterator[str]:
    """Candidates by expected improvement: a Gaussian process whose prior mean is the estimate (Mockus 1978)."""
    names = target.candidates
    spread = float(np.std(list(target.truth.values()))) or 1.0
    prior = (scores - scores.mean()) / (scores.std() or 1.0)
    run: list[int] = []
    while len(run) < min(count, len(names)):
        if not run:
            gain = prior
        else:
            # Of the level only the runs know: they are compared with the prior at the same candidates.
            seen = np.array([validation[names[i]] for i in run]) / spread
            residual = seen - prior[run]
            level = residual.mean()
            weights = np.linalg.solve(kernel[np.ix_(run, run)] + NOISE * np.eye(len(run)), kernel[run])
            mean = level + prior + weights.T @ (residual - level)
            deviation = np.sqrt(np.maximum(1 - np.sum(kernel[run] * weights, axis=0), 1e-9))
            above = (mean - seen.max()) / deviation
            gain = deviation * (above * norm.cdf(above) + norm.pdf(above))
            gain[run] = -np.inf
        run.append(int(np.argmax(gain)))
    yield from (names[i] for i in run)


def by_results_elsewhere(targets: Sequence[TargetResult]) -> Kernel:
    """Likeness by what fine-tuning gave on other targets: Gaussian in standardised scores."""

    def kernel(target: TargetResult) -> np.ndarray:
        names, columns = target.candidates, []
        for other in targets:
            if other.name != target.name and set(names) <= set(other.truth):
                values = np.array([other.truth[name] for name in names])
                columns.append((values - values.mean()) / (values.std() or 1.0))
        if not columns:
            return np.eye(len(names))
        places = np.array(columns).T
        distances = np.square(places[:, None] - places[None]).mean(2)
        return np.exp(-distances / (2 * LENGTH**2))

    return kernel


def by_features(target: TargetResult) -> np.ndarray:
    """Likeness of candidates by the linear CKA of their features on the target."""
    return np.array(target.record["similarity"])
