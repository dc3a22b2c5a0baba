"""What is at stake: expected points behind the first checkpoint, where the calibration has something to say."""

from __future__ import annotations

import pytest

from hf_emms.cli.rank_commands import summary
from hf_emms.presets import encoder_presets
from hf_emms.ranking import Encoder, Ranking, Row, ranked
from hf_emms.ranking.expected_gap import expected_gap, gap_in_words
from hf_emms.scoring import Score
from tests.helpers.rankings import example

DEFAULT = tuple(Encoder(name, "1" * 40) for name in encoder_presets()["base"])


def calibrated(*scores: float, **changes: object) -> Ranking:
    rows = [
        Row(f"org/{name}", scores={"emms_knn": Score(score, folds=(score, score))}, parameters=1_000 * (place + 1))
        for place, (name, score) in enumerate(zip("cba", scores, strict=False))
    ]
    given = {"encoders": DEFAULT, "estimators": ("emms_knn",), "rows": ranked(rows, "emms_knn")}
    return example(**(given | changes))


def test_points_grow_with_the_difference_of_scores() -> None:
    near, far = expected_gap(calibrated(-0.3, -0.301, -0.5))
    assert (near.checkpoint, far.checkpoint) == ("org/b", "org/a")
    assert near.low < 0 < near.points < 1 < near.high
    assert 1 < far.points < far.high
    assert far.high > near.high
    assert far.low > near.low


def test_a_longer_training_leaves_less_at_stake() -> None:
    ranking = calibrated(-0.3, -0.5)
    (quick,), (full,) = (expected_gap(ranking, budget) for budget in ("quick", "full"))
    assert 1 < full.points < quick.points
    assert full.low < full.points < full.high
    told = summary(ranking, None)
    assert told.index("At stake by fine-tuning on 1,000 rows for 3 epochs: org/b") < told.index(
        "At stake by fine-tuning on all rows for up to 10 epochs: org/b"
    )


def test_the_longer_training_is_calibrated_for_pictures_only() -> None:
    ranking = calibrated(-0.3, -0.5, task="text-classification")
    assert expected_gap(ranking)
    assert expected_gap(ranking, "full") == []


def test_equal_scores_are_expected_to_end_equal() -> None:
    (second,) = expected_gap(calibrated(-0.3, -0.3))
    assert second.points == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "image-to-text"},
        {"estimators": ("emms", "emms_knn")},
        {"encoders": (Encoder("org/other", "1" * 40),)},
        {
            "rows": (
                Row("org/a", scores={"emms_knn": Score(-0.3)}, n=125),
                Row("org/b", scores={"emms_knn": Score(-0.4)}),
            )
        },
        {"rows": (Row("org/a", scores={"emms_knn": Score(-0.3)}), Row("org/b", error="broken"))},
    ],
)
def test_nothing_is_said_where_nothing_was_calibrated(changes: dict[str, object]) -> None:
    ranking = calibrated(-0.3, -0.4, **changes)
    assert expected_gap(ranking) == []
    assert gap_in_words(ranking) is None


def test_the_run_names_the_smallest_of_those_within_a_point() -> None:
    told = summary(calibrated(-0.3, -0.301, -0.5), None)
    assert "At stake by fine-tuning on 1,000 rows for 3 epochs: org/b is expected 0.1 points behind org/c" in told
    assert "The first 2 are expected within a point; the smallest of them is org/c (1k parameters)." in told
    assert "within a point" not in summary(calibrated(-0.3, -0.6), None)
