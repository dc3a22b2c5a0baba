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


def test_a_run_says_what_is_at_stake_at_either_budget() -> None:
    """Points grow with the difference of scores; the longer training leaves fewer."""
    quick = "At stake by fine-tuning on 1,000 rows for 3 epochs: org/b is expected 1.3 points behind org/c "
    quick += "(80 %: -3.6 to 5.8), org/a 13 (80 %: 1.6 to 26.7).\n"
    full = "At stake by fine-tuning on all rows for up to 10 epochs: org/b is expected 0.5 points behind org/c "
    full += "(80 %: -2.5 to 3.6), org/a 5 (80 %: -0.9 to 22.1)"
    near = ". The first 2 are expected within a point; the smallest of them is org/c (1k parameters).\n"
    assert f"\n{quick}{full}{near}" in summary(calibrated(-0.3, -0.32, -0.5), None)
    far = "1,000 rows for 3 epochs: org/b is expected 20.1 points behind org/c (80 %: 4.5 to 38.3).\nAt stake by fine-"
    far += "tuning on all rows for up to 10 epochs: org/b is expected 6.9 points behind org/c (80 %: 0.0 to 32.4).\n"
    assert f"\nAt stake by fine-tuning on {far}" in summary(calibrated(-0.3, -0.6), None)


def test_the_longer_training_is_calibrated_for_pictures_only() -> None:
    ranking = calibrated(-0.3, -0.3, task="text-classification")
    (second,) = expected_gap(ranking)
    assert second.points == 0  # equal scores are expected to end equal
    assert expected_gap(ranking, "full") == []


def uneven(**changes: object) -> tuple[Row, ...]:
    """Two rows, the first of them with changes."""
    first = Row("org/a", **({"scores": {"emms_knn": Score(-0.3)}} | changes))
    return first, Row("org/b", scores={"emms_knn": Score(-0.4)})


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "image-to-text"},
        {"estimators": ("emms", "emms_knn")},
        {"encoders": (Encoder("org/other", "1" * 40),)},
        {"rows": uneven(n=125)},
        {"rows": uneven(scores={}, error="broken")},
    ],
)
def test_nothing_is_said_where_nothing_was_calibrated(changes: dict[str, object]) -> None:
    ranking = calibrated(-0.3, -0.4, **changes)
    assert expected_gap(ranking) == []
    assert gap_in_words(ranking) is None
