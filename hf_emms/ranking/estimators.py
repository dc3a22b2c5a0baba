"""Look up estimators by name, including the estimators of other packages."""

from __future__ import annotations

from collections.abc import Iterable

from hf_emms.errors import EmmsError, check_type
from hf_emms.options.registry import Registry
from hf_emms.scoring import estimators as built_in
from hf_emms.scoring.estimators import Estimator, EstimatorList

ESTIMATORS: Registry[Estimator] = Registry(
    "hf_emms.estimators", Estimator, built_in.ESTIMATORS, names=lambda estimator: (estimator.name,)
)


def get_estimator(name: str) -> Estimator:
    """Return an estimator.

    Raises:
        EmmsError: The name is unknown, or the package of the estimator cannot be loaded.
    """
    check_type("estimator", name, str)
    if name not in ESTIMATORS:
        raise EmmsError("unknown-estimator", f"unknown estimator {name!r}", f"choose from {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]


def get_estimators(names: Iterable[str]) -> EstimatorList:
    """Return several estimators in this order; for errors see `get_estimator`."""
    return EstimatorList(map(get_estimator, names))
