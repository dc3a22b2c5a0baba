"""Seeded problems with values of the paper's objective and of the official function, computed independently."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests import ROOT

PROBLEMS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "golden" / "emms_scores.json").read_text())


def arrays(problem: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the features (N, D1) and F-labels (N, D2, K) of a problem, drawn in the documented order."""
    rng = np.random.default_rng(problem["seed"])
    n, d1, d2, latent = (problem[key] for key in ("N", "D1", "D2", "latent"))
    hidden = rng.normal(size=(n, latent))
    x = hidden @ rng.normal(size=(latent, d1)) + rng.normal(size=(n, d1))
    labels = [hidden @ rng.normal(size=(latent, d2)) + noise * rng.normal(size=(n, d2)) for noise in problem["noise"]]
    return x, np.stack(labels, axis=2)
