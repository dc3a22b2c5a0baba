"""Test the units, directions and decimals of shown numbers."""

from __future__ import annotations

import json
from math import inf

import pytest

from hf_emms.ranking import FineTuned, Ranking, Row, Seconds, ranked
from hf_emms.ranking import text as views
from hf_emms.ranking.advice import recommendation
from hf_emms.ranking.columns import ScoreFormatter, explained_title, format_finetuned, measured_in_words
from hf_emms.scoring import Score
from hf_emms.scoring.estimators import ESTIMATORS
from hf_emms.scoring.quantity import ERROR_RATE, METRICS, POINTS, SCORE
from tests.helpers.rankings import example


def of_scores(estimators: tuple[str, ...], **values: tuple[float, ...]) -> Ranking:
    rows = [
        Row(
            f"org/{name}",
            "a" * 40,
            scores={
                estimator: Score(value, 0.0435, tuple(value * (1 + shift) for shift in (-0.02, -0.01, 0, 0.01, 0.02)))
                for estimator, value in zip(estimators, scores, strict=True)
            },
            seconds=Seconds(3000.0, 60.0),
        )
        for name, scores in values.items()
    ]
    return example(rows=ranked(rows, estimators[0]), estimators=estimators, reason="")


def test_only_the_first_emms_estimator_is_titled_explained() -> None:
    for names, titles in (
        (("logme", "emms", "emms_knn"), ["explained", "EMMS + k-NN"]),
        (("emms_knn", "emms"), ["explained", "ridge"]),
    ):
        assert [explained_title(name, names) for name in names if name != "logme"] == titles


LOSSES = """\
rank  checkpoint  Short run ↓  Zero-shot ↓  minutes  params  width
----  ----------  -----------  -----------  -------  ------  -----
   1  org/good    2.37 ± 0.04         4.50     51.0       –      –
   2  org/bad     3.37 ± 0.04         4.60     51.0       –      –
Short run, Zero-shot: bits per byte (lower is better)
"""


def test_a_loss_is_positive_for_people_and_negative_in_files() -> None:
    ranking = of_scores(("short_run", "zero_shot"), good=(-2.3676, -4.5), bad=(-3.3683, -4.6))
    assert views.to_text(ranking) == LOSSES
    answer = "org/good: Short run 2.37 ± 0.04 bits per byte (lower is better), ahead of org/bad (3.37 ± 0.04)."
    assert recommendation(ranking).startswith(f"Fine-tune {answer}")
    assert json.loads(ranking.to_json())["rows"][0]["scores"]["short_run"]["value"] == -2.3676
    assert ",-2.3676,0.0435,-4.5,0.0435," in views.to_csv(ranking)


def test_an_error_rate_is_in_per_cent() -> None:
    ranking = of_scores(("word_error_rate",), good=(-0.0883,), bad=(-0.35,))
    shown = ScoreFormatter(ranking, "word_error_rate")
    assert shown.sentence(ranking.rows[0].scores["word_error_rate"]) == "word error rate 8.8 ± 4.4% (lower is better)"
    assert shown.heading == "word error rate, % ↓"
    assert ScoreFormatter(example(), "emms").heading == "explained"


def test_a_quantity_has_a_range_and_decimals() -> None:
    wrong = (75, 1, -inf, 1, "% (lower is better)")
    told = {"1 - WER": wrong, "1 - CER": wrong, "R²": (25, 1, -inf, 1, ""), "Spearman": (25, 1, -1, 1, "")}
    told |= {"preference accuracy": (25, 1, 0, 1, "%")}
    told |= {"byte likelihood": (2, 2, 0, 1, " bits per byte (lower is better)")}
    told |= {"accuracy": (25, 1, 0, 1, ""), "WER": (-25, 1, -inf, inf, wrong[-1]), "EMMS": (0.25, 4, -inf, inf, "")}
    quantities = {**METRICS, "accuracy": POINTS, "WER": ERROR_RATE, "EMMS": SCORE}
    assert {
        name: (quantity.value(0.25), quantity.decimals, quantity.low, quantity.high, quantity.in_words)
        for name, quantity in quantities.items()
    } == told
    assert [POINTS.decimals_for(error) for error in (None, 0, 0.004, 0.005)] == [1, 1, 2, 1]


def test_forwards_count_training_steps_three_times() -> None:
    forwards = {"short_run": 256 + 3 * 3 * 200, "zero_shot": 256, "word_error_rate": 2 * 256}
    # A pair has two responses. The start reads them in each epoch, and held-out ones once.
    pairs, held_out = 2 * 200, 2 * 256
    forwards |= {"preference_accuracy": held_out, "preference_run": 3 * (3 + 1) * pairs + (3 + 1) * held_out}
    assert {estimator.name: estimator.forwards for estimator in ESTIMATORS if estimator.forwards} == forwards


@pytest.mark.parametrize(
    ("metric", "stored", "spread", "cell", "words"),
    [
        ("accuracy", 0.912, 0.004, "91.2 ± 0.4", "accuracy 91.2"),
        ("1 - WER", 0.912, 0.004, "8.8 ± 0.4", "word error rate 8.8% (lower is better)"),
        ("byte likelihood", 0.25, 0.01, "2.00 ± 0.06", "loss 2.00 bits per byte (lower is better)"),
    ],
)
def test_fine_tuned_metrics_have_their_usual_format(
    metric: str, stored: float, spread: float, cell: str, words: str
) -> None:
    result = FineTuned(metric, value=stored, spread=spread)
    assert format_finetuned(result) == cell
    assert measured_in_words(result) == words
    assert (format_finetuned(FineTuned(metric, error="no memory")), format_finetuned(None)) == ("failed", "–")


def test_a_column_of_zeros_is_hidden_unless_it_is_the_first() -> None:
    ranking = of_scores(("short_run", "logme"), good=(-2.0, 0.00001), bad=(-3.0, -0.00002))
    assert "LogME" not in views.to_text(ranking)
    assert "logme" in views.to_csv(ranking)
    assert "not_installed" in views.to_text(of_scores(("not_installed",), good=(-2.0,), bad=(-3.0,)))
    told = of_scores(("short_run", "logme"), good=(-2.0, 0.5), bad=(-3.0, 0.0))
    assert "LogME" in views.to_text(told)
