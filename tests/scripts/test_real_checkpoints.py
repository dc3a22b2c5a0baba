"""The tables of the real pools: what a difference is worth, what tells estimators apart, what sees adaptation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hf_emms.ranking.expected_gap import CALIBRATIONS
from scripts.quality import calibration, power, results
from scripts.quality.results import TargetResult, load


def target(name: str, scores: dict[str, list[float]], test: list[float], loss: list[float]) -> TargetResult:
    names = "abcdefgh"[: len(test)]
    runs = {
        one: [[1e-3, 0, value, value, 1.0, 10, own, [value]]] for one, value, own in zip(names, test, loss, strict=True)
    }
    scores = {f"{estimator}|minilm|all|0": values for estimator, values in scores.items()}
    return TargetResult(
        name, {"candidates": [*names], "runs": {"quick": runs}, "scores": scores}, "quick", None, "minilm"
    )


def test_the_numbers_of_the_package_are_those_of_the_fit() -> None:
    for budget, lines in CALIBRATIONS.items():
        assert (lines.low, lines.middle, lines.high) == calibration.lines(budget)


def test_a_difference_that_every_target_shows_needs_few_targets() -> None:
    truth = [float(value) for value in range(8)]
    noise = np.random.default_rng(0)
    steady = [target(f"t{i}", {"emms_knn": truth, "emms": truth[::-1]}, truth, truth) for i in range(3)]
    mixed = [
        target(f"t{i}", {"emms_knn": [*noise.permutation(8)], "emms": [*noise.permutation(8)]}, truth, truth)
        for i in range(6)
    ]
    (always, *_), (sometimes, *_) = (power.rows(targets, (4,)) for targets in (steady, mixed))
    assert always[0] == sometimes[0] == "emms"
    assert always[1:] == ("+2.00 [+2.00, +2.00]", "0", "0")
    assert int(sometimes[2].replace(",", "")) > 100


def test_no_default_is_chosen_on_held_targets() -> None:
    assert not {one.name for one in calibration.targets("quick", "dev")} & {
        one.name for one in calibration.targets("quick", "held")
    }


def test_the_paper_s_gains_are_those_of_the_results() -> None:
    from hf_emms.evaluation import weighted_tau
    from tests.scripts.test_quality import printed

    _, targets = load()
    own = [one for one in targets if one.record["task"] == "image-to-text"]
    ours, base = (
        np.mean([weighted_tau(one.scores(name)[0], list(one.truth.values())) for one in own])
        for name in ("emms_knn", "logme_flabels")
    )
    cell = printed("The paper's gains over LogME")["image-to-text"]["EMMS + k-NN, held out (`emms_knn`, the default)"]
    assert cell == f"{100 * (ours / base - 1):+.1f} %"


def with_test_rows(tests: dict[str, list[float]], rows: int) -> TargetResult:
    """A target whose candidates have one test score a seed."""
    runs = {name: [[1e-3, seed, 50.0, value] for seed, value in enumerate(own)] for name, own in tests.items()}
    return TargetResult("t", {"candidates": [*tests], "runs": {"quick": runs}, "test_rows": rows}, "quick")


def test_candidates_within_the_noise_of_the_best_are_one_group() -> None:
    tests = {"a": [90.0], "b": [89.0], "c": [70.0], "d": [10.0]}
    assert [set(group) for group in with_test_rows(tests, 400).groups] == [{"a", "b"}, {"c"}, {"d"}]
    tied = replace(with_test_rows(tests, 400), measure="tied").truth
    assert tied == {"a": 89.5, "b": 89.5, "c": 70.0, "d": 10.0}


def test_scores_on_other_features_join_committed_ones_only_where_all_candidates_have_them() -> None:
    target = {"candidates": ["a", "b"], "scores": {"emms|minilm|all|0": [0.1, 0.2]}, "seconds": {"a": {}, "b": {}}}
    more = {"a": {"scores": {"lora_emms|minilm|all|0": 0.5}, "seconds": {"lora_emms": 3.0}}}
    assert results.with_more(target, more) == target
    both = results.with_more(target, more | {"b": more["a"]})
    assert both["scores"] == {"emms|minilm|all|0": [0.1, 0.2], "lora_emms|minilm|all|0": [0.5, 0.5]}
    assert both["seconds"]["b"] == {"lora_emms": 3.0}
