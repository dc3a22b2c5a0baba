"""A checkpoint is recommended, and called confirmed, only if the numbers are above the baseline."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hf_emms.publish.card_text import card
from hf_emms.ranking import BaselineScore, FineTuned, Ranking, Row, TrainingRun, ranked
from hf_emms.ranking.advice import advice, caveats, finetuning_summary, recommendation
from hf_emms.ranking.expected_gap import expected_gap
from hf_emms.ranking.verdict import Verdict, verdict
from hf_emms.scoring import Score
from tests.helpers.rankings import NULL_LOSS, example

SAME_CLASS = "the same class for all rows"


def row(name: str, explained: float, error: float, shift: float = 0.0, **changes: Any) -> Row:
    """A row with R² and its standard error; its folds lie around its score, and those of equal `shift` are paired."""
    loss = (1 - explained) * NULL_LOSS
    details = {"r2": explained, "weights": [1.0], "ridge": 1.0, "notes": []}
    folds = tuple(-loss + step for step in (-0.01 - shift, 0.0, 0.01 + shift))
    return Row(f"org/{name}", scores={"emms_knn": Score(-loss, error * NULL_LOSS, folds, details)}, **changes)


def of_rows(*rows: Row, **changes: Any) -> Ranking:
    return example(**({"rows": ranked(rows, "emms_knn"), "estimators": ("emms_knn",)} | changes))


NOTHING = (
    "No candidate's features predict these labels: explained 0.0{} ± 0.02 of the variance at best. Do the labels "
    "belong to their inputs, and are 1,034 rows enough for 3 label texts?"
)


def test_a_lead_is_clear_where_the_best_explains_more_than_its_own_noise() -> None:
    clear = of_rows(row("a", 0.05, 0.02, 0.001), row("b", 0.01, 0.02))
    assert verdict(clear) == Verdict("org/a", "clearly ahead", ("org/a",))
    noise = of_rows(row("a", 0.04, 0.02, 0.001), row("b", 0.01, 0.02))  # twice its error is not more than twice
    assert verdict(noise) == Verdict(None, "nothing explained", ("org/a",))
    assert recommendation(noise) == advice(noise) == NOTHING.format(4)
    assert expected_gap(noise) == []
    for about in ("org/a", None):
        assert "None of 2 checkpoints has features that predict the labels" in card(noise, about)
        assert "has features" not in card(clear, about)


def test_of_a_shared_rank_only_what_explains_something_is_taken() -> None:
    small = row("small", 0.10, 0.06, 0.2, parameters=10)
    shared = of_rows(row("large", 0.12, 0.02, parameters=1000), small)
    assert verdict(shared) == Verdict("org/large", "shared", ("org/large", "org/small"))
    nothing = of_rows(row("large", 0.02, 0.02, parameters=1000), row("small", 0.01, 0.02, 0.2, parameters=10))
    assert verdict(nothing) == Verdict(None, "nothing explained", ("org/large", "org/small"))


def test_tokens_that_are_unknown_and_texts_that_are_cut_are_said_where_nothing_is_explained() -> None:
    rows = [row("a", 0.0, 0.02, unknown_tokens=0.1, cut_texts=0.1), row("b", 0.0, 0.02, unknown_tokens=0.01)]
    assert recommendation(of_rows(*rows)) == (
        f"{NOTHING.format(0)} Up to 10% of the tokens are unknown to these tokenizers: rank checkpoints that were "
        "trained on this language. Up to 10% of the texts are cut: what decides may be in what is not read."
    )
    assert recommendation(of_rows(row("a", 0.0, 0.02, unknown_tokens=0.05, cut_texts=0.05))) == NOTHING.format(0)
    assert "unknown" not in recommendation(of_rows(row("a", 0.5, 0.02, unknown_tokens=0.9, cut_texts=0.9)))


def test_a_checkpoint_that_the_task_cannot_fine_tune_is_not_recommended() -> None:
    ast = row("ast", 0.4, 0.01, no_head="a family without a head that transcribes")
    named = of_rows(ast, row("wav2vec", 0.3, 0.01, 0.001), row("hubert", 0.2, 0.01), task="speech")
    assert verdict(named) == Verdict("org/wav2vec", "clearly ahead", ("org/wav2vec",))
    assert recommendation(named) == (
        "Fine-tune org/wav2vec: explained 0.30 ± 0.01 of the variance, clearly ahead of org/hubert "
        "(0.20 ± 0.01); org/ast cannot be fine-tuned for speech."
    )
    assert recommendation(of_rows(ast, task="speech")) == "None of these checkpoints can be fine-tuned for speech."
    assert verdict(of_rows(ast)) == Verdict(None, "no head")
    # Without the first, the second cannot be told from the third.
    near = of_rows(row("ast", 0.5, 0.01, no_head="none"), row("a", 0.45, 0.01, 0.05), row("b", 0.42, 0.01))
    assert verdict(near) == Verdict("org/a", "shared", ("org/a", "org/b"))
    lower = of_rows(row("wav2vec", 0.5, 0.01, 0.001), ast)
    assert "cannot" not in recommendation(lower)
    equal = of_rows(row("wav2vec", 0.41, 0.01, 0.2), row("hubert", 0.1, 0.01), ast, task="speech")
    assert recommendation(equal).endswith("; org/ast cannot be fine-tuned for speech.")


def test_of_checkpoints_that_are_not_told_apart_a_direct_measure_chooses_and_is_said() -> None:
    def measured(name: str, explained: float, rate: float, **changes: Any) -> Row:
        plain = row(name, explained, 0.01, **changes)
        return msgspec.structs.replace(plain, scores={**plain.scores, "word_error_rate": Score(-rate, 0.01)})

    estimators = ("emms_knn", "word_error_rate")
    good, small = measured("good", 0.40, 0.12, parameters=1000), measured("small", 0.41, 0.9, shift=0.2, parameters=10)
    shared = of_rows(good, small, estimators=estimators)
    assert verdict(shared).checkpoint == "org/good"
    assert recommendation(shared).startswith(
        "org/small and org/good are not told apart: take org/good (1k parameters); word error rate 12.0"
    )
    assert "take org/good (1k parameters); word error rate 12.0" in str(advice(shared))
    unmeasured = of_rows(row("a", 0.4, 0.01), row("b", 0.1, 0.01), estimators=estimators)
    assert "word error rate" not in recommendation(unmeasured)
    behind = of_rows(measured("first", 0.5, 0.9), measured("good", 0.4, 0.12, shift=0.001), estimators=estimators)
    assert verdict(behind).checkpoint == "org/first"
    assert (
        "; word error rate 90.0 ± 1.0% (lower is better); the best word error rate is 12.0 ± 1.0, of org/good."
        in recommendation(behind)
    )
    # Where the first estimator runs the checkpoints itself, nothing more direct stands beside it.
    tied = (Row("a", scores={"short_run": Score(-1.0), "zero_shot": Score(-3.0)}, parameters=1),)
    tied += (Row("b", scores={"short_run": Score(-1.0), "zero_shot": Score(-2.0)}, parameters=2),)
    run = example(rows=ranked(tied, "short_run"), estimators=("short_run", "zero_shot"))
    assert verdict(run).checkpoint == "a"


def tuned(value: float, stderr: float | None = 0.01, baseline: float | None = 0.5, **changes: Any) -> FineTuned:
    guess = None if baseline is None else BaselineScore(SAME_CLASS, baseline, 0.02, 0.01)
    run = TrainingRun(1e-4, 0, value, {"accuracy": value})
    fields: dict[str, Any] = {"validation": value, "runs": (run,), "recipe": {"epochs": 5}, "spread": stderr}
    return FineTuned("accuracy", value, stderr=stderr, baseline=guess, **(fields | changes))


def confirmed(*results: FineTuned) -> Ranking:
    names = "abcdefghijk"[: max(3, len(results))]
    rows = [row(name, 0.9 - place / 20, 0.01, place / 1000) for place, name in enumerate(names)]
    with_results = [
        msgspec.structs.replace(plain, fine_tuned=result) for plain, result in zip(rows, results, strict=False)
    ]
    return of_rows(*with_results, *rows[len(results) :])


UNTRAINED = tuned(0.9, learning_rate=1e-4, runs=(TrainingRun(1e-4, 0, 0.9, is_untrained=True),))


def by(*scores: str) -> str:
    """Two or more scores as they are said, the best first, of "a 90.0"."""
    best, *others = (f"org/{score.replace(' ', ': ')}" for score in scores)
    return f"by fine-tuning: {best.replace(' ', ' accuracy ')} ({'; '.join(others)}), after up to 5 epochs"


ALONE, BOTH = "Measured by fine-tuning: org/a: accuracy 90.0", by("a 90.0", "b 80.0")
NOT_APART = "; org/{} not told apart from it."
BEST, NEAR = f"Confirmed {BOTH}; the estimate's first is the best.", f"Measured {BOTH}{NOT_APART.format('b is')}"
BETTER = "; org/b is better on the test rows, which choose nothing"
UNLEARNT, BASELINE = "Fine-tuning did not learn this: accuracy ", f"the baseline ({SAME_CLASS}"
ELEVEN = [f"{'abcdefghijk'[place]} {35 + 5 * place}.0" for place in range(11)]
# The results in the estimate's order, and what is said.
FINE_TUNED: dict[str, tuple[tuple[FineTuned, ...], str]] = {
    "the second": ((tuned(0.8), tuned(0.9)), f"Confirmed {by('b 90.0', 'a 80.0')}; the estimate's first was second."),
    "the last": (
        tuple(tuned(0.35 + place / 20) for place in range(11)),
        f"Confirmed {by(*ELEVEN[::-1])}; the estimate's first was number 11.",
    ),
    "one": ((tuned(0.9, baseline=None),), f"{ALONE}, after up to 5 epochs."),
    "untrained": ((UNTRAINED,), f"{ALONE}, as it was: fine-tuning did not help."),
    "one epoch": ((tuned(0.9, recipe={"epochs": 1}),), f"{ALONE}, after up to 1 epoch."),
    "no recipe": ((tuned(0.9, recipe={}),), f"{ALONE}, after fine-tuning."),
    "near": (
        tuple(tuned(value, baseline=None) for value in (0.9, 0.89, 0.88)),
        f"Measured {by('a 90.0', 'b 89.0', 'c 88.0')}{NOT_APART.format('b and org/c are')}",
    ),
    "the third": (
        (tuned(0.8), tuned(0.9), tuned(0.89)),
        f"Measured {by('b 90.0', 'c 89.0', 'a 80.0')}; the estimate's first was third{NOT_APART.format('c is')}",
    ),
    # Chosen by validation rows, and worse on test rows.
    "worse": ((tuned(0.8, validation=0.95), tuned(0.9)), f"Measured {by('a 80.0', 'b 90.0')}{BETTER}."),
    "baseline": (
        (tuned(0.51, validation=0.7), tuned(0.6, validation=0.6)),
        f"Measured {by('a 51.0', 'b 60.0')}{BETTER}; it is no better than {BASELINE}: 50.0).",
    ),
    "no baseline": (
        (tuned(0.9, baseline=None), tuned(0.8, baseline=None)),
        f"Measured {BOTH}; the estimate's first is the best; no baseline was measured.",
    ),
    # A file without errors of its own is read with the spread.
    "spread": ((tuned(0.9, None, spread=0.01), tuned(0.8, None, spread=0.01)), BEST),
    "wide": ((tuned(0.9, None, spread=0.1), tuned(0.8, None, spread=0.01)), NEAR),
    "no noise": ((tuned(0.9, 0.0), tuned(0.8, 0.0)), BEST),
    "equal": ((tuned(0.9, 0.0),) * 2, f"Measured {by('a 90.0', 'b 90.0')}{NOT_APART.format('b is')}"),
    "no spread": ((tuned(0.9, None), tuned(0.8, None, spread=0.01)), NEAR),
    "nothing right": (
        (tuned(0.02, 0, baseline=0),),  # not more than twice the standard error of the gain
        f"{UNLEARNT}2.0 of every run, validation 2.0, after up to 5 epochs; {BASELINE}) is 0.0.",
    ),
}


@pytest.mark.parametrize("case", FINE_TUNED)
def test_confirmed_is_what_is_above_baseline_and_told_apart(case: str) -> None:
    results, sentence = FINE_TUNED[case]
    ranking = confirmed(*results)
    assert recommendation(ranking) == sentence
    assert ranking.best is not None
    learnt = ranking.best.checkpoint, sentence.partition(" ")[0].lower()
    expected = (None, "no better than the baseline") if sentence.startswith(UNLEARNT) else learnt
    assert (verdict(ranking).checkpoint, verdict(ranking).outcome) == expected


def test_of_a_shared_rank_none_is_taken_where_fine_tuning_taught_nothing() -> None:
    first, second = (row(name, 0.5, 0.01, shift, fine_tuned=tuned(0.5)) for name, shift in (("a", 0.0), ("b", 0.2)))
    first.scores["word_error_rate"] = Score(-0.5)
    shared = of_rows(first, second, estimators=("emms_knn", "word_error_rate"))
    assert str(advice(shared)).endswith("; else take none; word error rate 50.0% (lower is better)")


def test_fine_tuning_that_learnt_nothing_says_what_was_tried() -> None:
    runs = tuple(TrainingRun(rate, 0, 0.5, {"accuracy": value}) for rate, value in ((1e-4, 0.5), (1e-3, 0.51)))
    failed = TrainingRun(1e-2, 0, error="memory ran out")
    assert finetuning_summary(confirmed(tuned(0.51, validation=0.5, runs=(*runs, failed)))) == (
        "Fine-tuning did not learn this: accuracy 50.0 to 51.0 of every run, validation 50.0, after up to 5 epochs at "
        f"learning rates from 0.0001 to 0.001; the baseline ({SAME_CLASS}) is 50.0."
    )
    assert finetuning_summary(confirmed(tuned(0.5, runs=(), recipe={"steps": 1000, "budget": "quick"}))) == (
        "Fine-tuning did not learn this: accuracy 50.0 of every run, validation 50.0, after 1,000 steps (a quick "
        f"budget); the baseline ({SAME_CLASS}) is 50.0."
    )


def test_a_row_without_a_checkpoint_that_is_as_good_is_said() -> None:
    baseline = row("BM25", 0.4, 0.01)
    for none in (row("a", 0.4, 0.01, fine_tuned=tuned(0.9)), Row("org/a", error="broken")):
        assert caveats(of_rows(none, baselines=(baseline,))) == []
    assert caveats(of_rows(row("a", 0.4, 0.01), row("b", 0.1, 0.01), baselines=(baseline,))) == [
        "org/BM25 is within the noise of the first checkpoint, explained 0.40 ± 0.01 of the variance: without "
        "fine-tuning you need no model."
    ]


@pytest.mark.parametrize(("share", "is_said"), [(0.26, True), (0.25, False)])
def test_more_than_a_quarter_of_the_responses_cut_is_part_of_the_advice(share: float, is_said: bool) -> None:
    cut = {"r2": 0.3, "cut_responses": share}
    rows = [Row(f"org/{name}", scores={"short_run": Score(-1.0, 0.1, (-1.1, -0.9), cut)}) for name in "ab"]
    alone = example(rows=ranked(rows[:1], "short_run"), estimators=("short_run",))
    shared = example(rows=ranked(rows, "short_run"), estimators=("short_run",))
    for sentence in (recommendation(alone), recommendation(shared), advice(shared)):
        assert ("% of the responses are cut: only their beginnings count" in str(sentence)) == is_said
