"""How far the classes lie apart, measured by the spread of all rows."""

import numpy as np

from hf_emms.scoring import Score
from hf_emms.scoring.estimators import Estimator, ScoringInputs


def class_spread(inputs: ScoringInputs) -> Score:
    """The share of the features' variance that lies between classes: 0 to 1."""
    features, labels, _ = inputs.rows
    rows = np.asarray(features, dtype=np.float64)
    codes = labels.codes
    counts = np.bincount(codes)
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, codes, rows)
    centers = sums / np.maximum(counts, 1)[:, None]
    between = counts @ ((centers - rows.mean(0)) ** 2).sum(1)
    return Score(float(between / ((rows - rows.mean(0)) ** 2).sum()))


CLASS_SPREAD = Estimator(
    "class-spread", "share of the variance that lies between classes", class_spread, needs={"rows"}
)
