"""Test mean ranks on other datasets."""

from __future__ import annotations

import msgspec
import pytest

from hf_emms.evaluation import dataset_blind
from hf_emms.ranking import FineTuned, Ranking, Row
from hf_emms.ranking.merge import mean_ranks, static_order
from tests.helpers.space import of_rows, scored, with_clear_order


def measured(ranking: Ranking, **validations: float) -> Ranking:
    """The ranking with some of its checkpoints fine-tuned."""

    def with_score(row: Row) -> Row:
        value = validations.get(row.checkpoint)
        result = FineTuned("accuracy", value, validation=value) if value is not None else None
        return msgspec.structs.replace(row, fine_tuned=result)

    return msgspec.structs.replace(ranking, rows=tuple(map(with_score, ranking.rows)))


def test_mean_ranks_are_the_control_of_validate() -> None:
    orders = {"x": "abcd", "y": "badc", "z": "dab"}
    truths = {name: {one: -float(place) for place, one in enumerate(order)} for name, order in orders.items()}
    others = [with_clear_order(name, *order) for name, order in orders.items() if name != "x"]
    assert {one: -share for one, share in mean_ranks(others).items()} == pytest.approx(dataset_blind(truths)["x"])
    assert mean_ranks([with_clear_order("y", *"abcd")])["a"] == 1 / 8


def test_a_dataset_counts_once_and_each_of_its_configurations() -> None:
    twice = [with_clear_order("x", "a", "b", seed=seed) for seed in (1, 2)]
    assert mean_ranks([*twice, with_clear_order("y", "b", "a")]) == {"a": 0.5, "b": 0.5}
    assert mean_ranks([*twice, with_clear_order("x", "b", "a", config="large")]) == {"a": 0.5, "b": 0.5}


def test_fine_tuned_scores_precede_the_estimate() -> None:
    order = with_clear_order("x", *"abcd")
    assert static_order([measured(order, a=0.7, c=0.9)], order.task) == [*"cbad"]
    assert static_order([measured(order, d=0.9)], order.task) == [*"abcd"]  # nothing it was compared with
    tied = of_rows("x", *(scored(name, -0.1, 10) for name in "ab"))
    assert static_order([measured(tied, a=0.7, b=0.9)], order.task) == [*"ba"]
    # Two share the places 1 and 2; of these one exchanges its place with the third, and the other stays between them.
    shared = of_rows("x", scored("a", -0.1, 10), scored("b", -0.1, 10), scored("c", -0.5, 10))
    assert mean_ranks([shared]) == {"a": 1 / 3, "b": 1 / 3, "c": 5 / 6}
    assert mean_ranks([measured(shared, a=0.7, c=0.9)]) == {"c": 1 / 6, "b": 1 / 2, "a": 5 / 6}


def test_the_key_of_a_checkpoint_ignores_hub_revisions() -> None:
    first = with_clear_order("x", "org/a@v1", "org/b", "org/a")
    assert list(mean_ranks([first])) == ["org/a", "org/b"]
    assert static_order([first], first.task) == ["org/a", "org/b"]
    local = [msgspec.structs.replace(row, revision=f"local-{number}") for number, row in enumerate(first.rows)]
    assert set(mean_ranks([msgspec.structs.replace(first, rows=tuple(local))])) == {"local-0", "local-1", "local-2"}
    assert static_order([msgspec.structs.replace(first, rows=tuple(local))], first.task) == []
