"""Measure how well rankings agree with fine-tuning results."""

from hf_emms.evaluation.measures import (
    MEASURES,
    dataset_blind,
    kendall_tau,
    measured,
    over_checkpoints,
    over_targets,
    pearson,
    pick_in_top,
    picks,
    regret,
    weighted_tau,
)
from hf_emms.evaluation.truth import Truth, read_truth, truth_from_rankings
from hf_emms.evaluation.validate import Validation, validate

__all__ = [
    "MEASURES",
    "Truth",
    "Validation",
    "dataset_blind",
    "kendall_tau",
    "measured",
    "over_checkpoints",
    "over_targets",
    "pearson",
    "pick_in_top",
    "picks",
    "read_truth",
    "regret",
    "truth_from_rankings",
    "validate",
    "weighted_tau",
]
