"""Scores by default settings change only together with the version that is part of the key of every cached row."""

from __future__ import annotations

import numpy as np
import pytest

from hf_emms import emms
from hf_emms.run.plan import ROW_VERSION


# Of more than 128 features, neighbours are looked for in principal components.
@pytest.mark.parametrize(
    ("width", "method", "score", "stderr", "ridge"),
    [
        (24, "emms", -0.2365634455966899, 0.006075317991593028, 0.1519911082952933),
        (24, "emms_knn", -0.2363444612899288, 0.005747765639904493, 0.1519911082952933),
        (160, "emms", -0.24418016826446523, 0.009315596355807159, 2.848035868435799),
        (160, "emms_knn", -0.243534491595657, 0.008521131396155164, 2.848035868435799),
    ],
)
def test_scores_change_only_with_the_version_of_rows(
    width: int, method: str, score: float, stderr: float, ridge: float
) -> None:
    rng = np.random.default_rng(width)
    hidden = rng.normal(size=(240, 6))
    features = hidden @ rng.normal(size=(6, width)) + 2 * rng.normal(size=(240, width))
    labels = [
        hidden @ rng.normal(size=(6, size)) + noise * rng.normal(size=(240, size)) for size, noise in ((8, 1), (5, 3))
    ]
    result = emms(features, labels, method=method, groups=range(240))
    assert ROW_VERSION == 13, "raised: write the new scores down here"
    assert (result.score, result.stderr, result.ridge) == pytest.approx((score, stderr, ridge), rel=1e-7)
