"""H-score: between-class variance of whitened features (Bao et al., ICIP 2019)."""

from __future__ import annotations

from hf_emms.errors import EmmsError
from hf_emms.scoring.methods import whiten
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.statistics import standardise


def hscore(moments: Moments) -> float:
    """trace(cov(X)⁺ cov(E[X | class])); higher is better.

    Raises:
        EmmsError: the labels are dense, so that there are no classes.
    """
    if moments.tables is None:
        raise EmmsError(
            "the H-score needs classes, but the labels are texts of their own", "leave out --estimator hscore"
        )
    statistics = standardise(moments)
    share = statistics.sums.y.sum(axis=0) / statistics.n
    present = share > 0
    whitened = whiten(statistics)[:, present]
    return float((whitened**2 / share[present]).sum())
