"""Does a ranking tell the truth, and do two rankings tell the same? Measures of agreement, and reports made of them."""

from hf_emms.evaluation.bootstrap import Interval, over_checkpoints, over_targets
from hf_emms.evaluation.card_truth import truth_from_cards
from hf_emms.evaluation.compare import Comparison, compare
from hf_emms.evaluation.measures import (
    MEASURES,
    dataset_blind,
    kendall_tau,
    measured,
    pearson,
    pick_in_top,
    picks,
    rank_of_pick,
    regret,
    spearman,
    top_recall,
    weighted_tau,
)
from hf_emms.evaluation.truth import Truth, read_truth
from hf_emms.evaluation.validate import Validation, validate

__all__ = [
    "MEASURES",
    "Comparison",
    "Interval",
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
    "truth_from_cards",
    "validate",
    "weighted_tau",
]
