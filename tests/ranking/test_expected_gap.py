"""Test the expected gap to the first checkpoint after fine-tuning."""

from __future__ import annotations

import pytest

from hf_emms.cli.rank_commands import summary
from hf_emms.options import DEFAULT_ENCODERS
from hf_emms.presets import encoder_presets
from hf_emms.ranking import Encoder, Row
from hf_emms.ranking.expected_gap import ENCODERS, expected_gap, gap_in_words
from hf_emms.scoring import Score
from tests.helpers.rankings import calibrated


def test_the_gap_grows_with_the_difference_of_scores_and_shrinks_with_longer_training() -> None:
    near, far = calibrated(-0.3, -0.32, -0.5), calibrated(-0.3, -0.6)
    gaps = {
        ("near", "quick"): [("org/b", 1.34, -3.6, 5.8), ("org/a", 13.4, 1.6, 26.7)],
        ("near", "full"): [("org/b", 0.46, -2.5, 3.6), ("org/a", 4.6, -0.9, 22.1)],
        ("far", "quick"): [("org/b", 20.1, 4.5, 38.3)],
        ("far", "full"): [("org/b", 6.9, 0.0, 32.4)],
    }
    for (name, budget), expected in gaps.items():
        ranking = near if name == "near" else far
        for gap, (checkpoint, *points) in zip(expected_gap(ranking, budget), expected, strict=True):
            assert gap.checkpoint == checkpoint
            assert [gap.points, gap.low, gap.high] == pytest.approx(points, abs=0.06)
        assert str(gap_in_words(ranking, budget)) in summary(ranking)
    assert "org/c (1k parameters)" in str(gap_in_words(near, "full"))  # the smallest of those within a point


def test_it_is_calibrated_with_the_default_label_encoders() -> None:
    assert encoder_presets()[DEFAULT_ENCODERS] == ENCODERS


def test_the_full_budget_is_calibrated_for_images_only() -> None:
    ranking = calibrated(-0.3, -0.3, task="text-classification")
    (second,) = expected_gap(ranking)
    assert second.points == 0  # equal scores are expected to end equal
    assert expected_gap(ranking, "full") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "image-to-text"},
        {"estimators": ("emms", "emms_knn")},
        {"encoders": (Encoder("org/other", "1" * 40),)},
        {"rows": (Row("org/a", error="broken"), Row("org/b", scores={"emms_knn": Score(-0.4)}))},
    ],
)
def test_uncalibrated_rankings_have_no_expected_gap(changes: dict[str, object]) -> None:
    ranking = calibrated(-0.3, -0.4, **changes)
    assert expected_gap(ranking) == []
    assert gap_in_words(ranking) is None
