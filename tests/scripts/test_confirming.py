"""The replay of confirmed shortlists: what was run picks, and what it cost is counted."""

from __future__ import annotations

import pytest

from scripts.quality.confirming import replayed
from scripts.quality.results import TargetResult, load


def target(**runs: list[list[float]]) -> TargetResult:
    """Candidates in the estimate's order, with runs of [rate, seed, validation, test, seconds]."""
    scores = {"emms_knn|demo|all|0": [-float(place) for place in range(len(runs))]}
    return TargetResult("t", {"candidates": list(runs), "runs": {"first": runs}, "scores": scores})


def test_the_best_validation_score_among_those_that_were_run_picks() -> None:
    one = target(
        a=[[1e-3, seed, 50.0, 60.0, 1.0] for seed in (0, 1)],
        b=[[1e-3, seed, 70.0, 80.0, 2.0] for seed in (0, 1)],
        c=[[1e-3, seed, 90.0, 70.0, 4.0] for seed in (0, 1)],
    )
    found = [replayed(one, count) for count in (0, 1, 2, 3, 99)]
    assert [each.regret for each in found] == [20.0, 20.0, 0.0, 10.0, 10.0]
    assert [each.runs for each in found] == [0, 1, 2, 3, 3]
    assert [each.seconds for each in found] == [0, 1, 3, 7, 7]


def test_the_goal_is_met_by_the_committed_runs() -> None:
    _, targets = load()
    regrets = [replayed(each, 3).regret for each in targets]
    held = [replayed(each, 3).regret for each in targets if each.record["half"] == "held"]
    assert sum(regrets) / len(regrets) <= 0.3
    assert sum(held) / len(held) == pytest.approx(0.05, abs=0.01)
