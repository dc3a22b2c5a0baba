"""Measure how well rankings agree with fine-tuning results and with each other."""

from hf_emms.evaluation.compare import Comparison, compare
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
    rank_of_pick,
    regret,
    spearman,
    top_recall,
    weighted_tau,
)
from hf_emms.evaluation.truth import Truth, read_truth, truth_from_leaderboards, truth_from_rankings
from hf_emms.evaluation.validate import Validation, validate

__all__ = [
    "MEASURES",
    "Comparison",
    "Truth",
    "Validation",
    "compare",
    "dataset_blind",
    "kendall_tau",
    "measured",
    "over_checkpoints",
    "over_targets",
    "pearson",
    "pick_in_top",
    "picks",
    "rank_of_pick",
    "read_truth",
    "regret",
    "spearman",
    "top_recall",
    "truth_from_leaderboards",
    "truth_from_rankings",
    "validate",
    "weighted_tau",
]
