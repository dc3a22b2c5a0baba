"""A checkpoint is recommended, and called confirmed, only if the numbers are above the baseline.

tests/golden/sentences.json has the verdict and the sentences of each case. After a wanted change:
python -m tests.ranking.test_verdict writes it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from hf_emms.cli.rank_commands import summary
from hf_emms.publish.card_text import card, markdown_text
from hf_emms.ranking import BaselineScore, Encoder, FineTuned, Ranking, Row, TrainingRun, ranked
from hf_emms.ranking import text as views
from hf_emms.ranking.advice import advice, finetuning_summary, recommendation
from hf_emms.ranking.expected_gap import expected_gap
from hf_emms.ranking.records import PublicTable
from hf_emms.ranking.verdict import Certainty, verdict
from hf_emms.scoring import SMALLEST_GAP, Score
from hf_emms.scoring.ratio import ratio
from tests import ROOT
from tests.helpers.rankings import NULL_LOSS, calibrated, emms_score, example

GOLDEN = ROOT / "tests" / "golden" / "sentences.json"
SAME_CLASS = "the same class for all rows"


def row(name: str, explained: float, error: float, shift: float = 0.0, **changes: Any) -> Row:
    """A row with R² and its standard error; its folds lie around its score. Rows of equal `shift` have paired folds."""
    loss = (1 - explained) * NULL_LOSS
    details = {"r2": explained, "weights": [1.0], "ridge": 1.0, "notes": []}
    folds = tuple(-loss + step for step in (-0.01 - shift, 0.0, 0.01 + shift))
    return Row(f"org/{name}", scores={"emms_knn": Score(-loss, error * NULL_LOSS, folds, details)}, **changes)


def of_rows(*rows: Row, **changes: Any) -> Ranking:
    return example(**({"rows": ranked(rows, "emms_knn"), "estimators": ("emms_knn",)} | changes))


def measured(name: str, explained: float, rate: float, **changes: Any) -> Row:
    plain = row(name, explained, 0.01, **changes)
    return msgspec.structs.replace(plain, scores={**plain.scores, "word_error_rate": Score(-rate, 0.01)})


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


def shared(*folds: tuple[float, ...], **changes: Any) -> Ranking:
    """A ranking by EMMS on 100 rows, of checkpoints with these scores of folds."""
    rows = [Row(f"org/{name}", scores={"emms": emms_score(*of)}) for name, of in zip("abcde", folds, strict=False)]
    return example(**({"rows": ranked(rows, "emms"), "n": 100, "estimators": ("emms",)} | changes))


def with_table(ranking: Ranking, **changes: Any) -> Ranking:
    table = PublicTable("accuracy on 8 tasks (%)", "org/results@abc", "CC0-1.0", ("image-classification",), **changes)
    return msgspec.structs.replace(ranking, published_table=table)


def published_order(*values: float | None, **changes: Any) -> Ranking:
    """Three rows with these published values; the first two tie."""
    rows = [row(name, *score) for name, score in zip("abc", ((0.5, 0.01), (0.49, 0.01, 0.1), (0.3, 0.01)), strict=True)]
    with_values = [
        msgspec.structs.replace(plain, published=value, published_trained_on=value and 2)
        for plain, value in zip(rows, values, strict=True)
    ]
    return with_table(of_rows(*with_values), **changes)


ESTIMATE_AND_ERRORS = {"estimators": ("emms_knn", "word_error_rate")}
CLEAR = of_rows(row("a", 0.05, 0.02, 0.001), row("b", 0.01, 0.02))
# Twice its error is not more than twice.
NOISE = of_rows(row("a", 0.04, 0.02, 0.001), row("b", 0.01, 0.02))
AST = row("ast", 0.4, 0.01, no_head="a family without a head that transcribes")
BM25 = row("BM25", 0.4, 0.01)
TIED = (
    Row("a", scores={"short_run": Score(-1.0), "zero_shot": Score(-3.0)}, parameters=1),
    Row("b", scores={"short_run": Score(-1.0), "zero_shot": Score(-2.0)}, parameters=2),
)
SIX_POINTS = {SMALLEST_GAP: 0.06}
FIRST, SECOND = (0.53, 0.50, 0.50), (0.50, 0.50, 0.50)
# Rows of a question count as one, words of a sentence each for themselves: as they do for max_samples.
QUESTIONS = {"n": 400, "n_inputs": 100, "label_form": "spans"}
WORDS = QUESTIONS | {"sampled": "words"}
# Over these folds the difference is 0.01 and its standard error 0.01: as good as two standard errors on 4 n rows.
BITS, SLIGHTLY = np.random.default_rng(0).normal(1, 0.1, (2, 256)) - [[0], [1]]
RATIOS = [ratio(np.column_stack([bits, np.ones(256)]), np.arange(256), 256) for bits in (BITS, BITS + SLIGHTLY)]

CASES: dict[str, Ranking] = {
    # Estimates
    "ahead of the second": CLEAR,
    "a gap beyond the interval": calibrated(-0.1, -0.3, n=1000),
    "a gap within the interval": calibrated(-0.1, -0.15, -0.2, n=1000),
    "another encoder": calibrated(-0.1, -0.3, encoders=(Encoder("org/other", "1" * 40),)),
    "another estimator": shared((0.6, 0.6, 0.6), SECOND, n=200),
    "a single checkpoint": calibrated(-0.1),
    "no score": example(rows=(Row("org/a", error="broken"),)),
    "no queries": example(
        rows=ranked(
            [
                Row(f"org/{name}", parameters=size, scores={"sentence_search": Score(value, details=SIX_POINTS)})
                for name, value, size in (("top", 0.8, 9), ("small", 0.76, 1), ("far", 0.5, 2))
            ],
            "sentence_search",
        ),
        estimators=("sentence_search",),
        task="text-retrieval",
    ),
    "few rows, one group and a failed checkpoint": of_rows(
        row("a", 0.4, 0.01), row("b", 0.1, 0.01), Row("org/c", error="broken"), n=99, largest_group=0.7
    ),
    "a baseline is ahead": of_rows(row("a", 0.3, 0.01), row("b", 0.1, 0.01), baselines=(BM25,)),
    "another estimator prefers the second": example(
        rows=ranked(
            [
                Row("org/a", scores={"zero_shot_ndcg": Score(0.8, 0.01), "adapted_ndcg": Score(0.8, 0.01)}),
                Row("org/b", scores={"zero_shot_ndcg": Score(0.7, 0.01), "adapted_ndcg": Score(0.9, 0.01)}),
            ],
            "zero_shot_ndcg",
        ),
        estimators=("zero_shot_ndcg", "adapted_ndcg"),
        task="text-retrieval",
    ),
    "few published values": with_table(
        of_rows(
            row("a", 0.9, 0.01, published=70.0),
            row("b", 0.8, 0.01, published=71.0),
            *(row(name, 0.2, 0.01) for name in "cde"),
        )
    ),
    "nothing explained": NOISE,
    "only one of a shared rank explains something": of_rows(
        row("large", 0.12, 0.02, parameters=1000), row("small", 0.10, 0.06, 0.2, parameters=10)
    ),
    "none of a shared rank explains something": of_rows(
        row("large", 0.02, 0.02, parameters=1000), row("small", 0.01, 0.02, 0.2, parameters=10)
    ),
    "unknown tokens and truncated texts": of_rows(
        row("a", 0.0, 0.02, unknown_tokens=0.1, truncated_texts=0.1), row("b", 0.0, 0.02, unknown_tokens=0.01)
    ),
    "the first has no head": of_rows(AST, row("wav2vec", 0.3, 0.01, 0.001), row("hubert", 0.2, 0.01), task="speech"),
    "none has a head": of_rows(AST, task="speech"),
    "without the first, the second ties": of_rows(
        row("ast", 0.5, 0.01, no_head="none"), row("a", 0.45, 0.01, 0.05), row("b", 0.42, 0.01)
    ),
    "the second has no head": of_rows(row("wav2vec", 0.5, 0.01, 0.001), AST),
    "one without a head ties with the first": of_rows(
        row("wav2vec", 0.41, 0.01, 0.2), row("hubert", 0.1, 0.01), AST, task="speech"
    ),
    "a direct measure chooses": of_rows(
        measured("good", 0.40, 0.12, parameters=1000),
        measured("small", 0.41, 0.9, shift=0.2, parameters=10),
        **ESTIMATE_AND_ERRORS,
    ),
    "the direct measure has another best": of_rows(
        measured("first", 0.5, 0.9), measured("good", 0.4, 0.12, shift=0.001), **ESTIMATE_AND_ERRORS
    ),
    # If the first estimator runs the checkpoints itself, no other measure is more direct.
    "two direct measures": example(rows=ranked(TIED, "short_run"), estimators=("short_run", "zero_shot")),
    "a baseline is as good": of_rows(row("a", 0.4, 0.01), row("b", 0.1, 0.01), baselines=(BM25,)),
    "a baseline, but fine-tuned": of_rows(row("a", 0.4, 0.01, fine_tuned=tuned(0.9)), baselines=(BM25,)),
    "the published order disagrees": published_order(71.0, 70.0, 75.2),
    "the published order agrees with one of a shared rank": published_order(71.0, 75.2, 70.0),
    "a lower published value is better": published_order(7.1, None, 5.2, lower_is_better=True),
    "the first has no published value": published_order(None, None, 75.2),
    "the published order disagrees, but nothing is explained": with_table(
        of_rows(row("a", 0.04, 0.02, published=1.0), row("b", 0.01, 0.02, published=2.0))
    ),
    # Whether more rows help
    "four times the rows": shared(FIRST, SECOND),
    "the split has them": shared(FIRST, SECOND, available=400),
    "the split has fewer": shared(FIRST, SECOND, available=350),
    "the split has no more": shared(FIRST, SECOND, available=100),
    "equal scores": shared(SECOND, SECOND),
    "questions": shared(FIRST, SECOND, **QUESTIONS),
    "few questions": shared(FIRST, SECOND, **QUESTIONS, available=300),
    "no more questions": shared(FIRST, SECOND, **QUESTIONS, available=100),
    "words": shared(FIRST, SECOND, **WORDS, available=1000),
    "few words": shared(FIRST, SECOND, **WORDS, available=150),
    "no more words": shared(FIRST, SECOND, **WORDS, available=100),
    "an estimator with a limit of rows": example(
        rows=ranked(
            [Row(name, scores={"zero_shot": score}) for name, score in zip("ab", RATIOS, strict=True)], "zero_shot"
        ),
        n=5000,
        estimators=("zero_shot",),
    ),
    # Fine-tuned scores, in the estimate's order
    "the second is the best": confirmed(tuned(0.8), tuned(0.9)),
    "one was fine-tuned": confirmed(tuned(0.9, baseline=None)),
    "training did not help": confirmed(
        tuned(
            0.9,
            learning_rate=1e-4,
            runs=(TrainingRun(1e-4, 0, 0.9, is_untrained=True, discarded_scores={"accuracy": 0.8}),),
        )
    ),
    "no recipe": confirmed(tuned(0.9, recipe={})),
    "all are near": confirmed(*(tuned(value, baseline=None) for value in (0.9, 0.89, 0.88))),
    "the first is third": confirmed(tuned(0.8), tuned(0.9), tuned(0.89)),
    "the best is no better than the baseline": confirmed(tuned(0.51, validation=0.7), tuned(0.6, validation=0.6)),
    # Without standard errors the spread counts.
    "spread": confirmed(tuned(0.9, None, spread=0.01), tuned(0.8, None, spread=0.01)),
    "wide spread": confirmed(tuned(0.9, None, spread=0.1), tuned(0.8, None, spread=0.01)),
    "no noise": confirmed(tuned(0.9, 0.0), tuned(0.8, 0.0)),
    "no spread": confirmed(tuned(0.9, None), tuned(0.8, None, spread=0.01)),
    # Not more than twice the standard error of the gain.
    "nothing is right": confirmed(tuned(0.02, 0, baseline=0)),
    "a quick budget learned nothing": confirmed(tuned(0.5, runs=(), recipe={"steps": 1000, "budget": "quick"})),
    "a shared rank learned nothing": of_rows(
        *(measured(name, 0.5, 0.5, shift=shift, fine_tuned=tuned(0.5)) for name, shift in (("a", 0.0), ("b", 0.2))),
        **ESTIMATE_AND_ERRORS,
    ),
}


def outcome(ranking: Ranking) -> dict[str, Any]:
    sentences = {
        "recommendation": recommendation(ranking),
        "advice": advice(ranking) and str(advice(ranking)),
    }
    return {
        "verdict": json.loads(msgspec.json.encode(verdict(ranking))),
        **{kind: text for kind, text in sentences.items() if text},
    }


@pytest.mark.parametrize("case", CASES)
def test_verdict_and_sentences_are_those_of_the_golden_file(case: str) -> None:
    assert outcome(CASES[case]) == json.loads(GOLDEN.read_text())[case]


def test_the_golden_file_has_every_certainty_and_every_caveat() -> None:
    verdicts = [verdict(ranking) for ranking in CASES.values()]
    assert {each.certainty for each in verdicts} == set(get_args(Certainty))
    assert {note.code for each in verdicts for note in each.caveats} == {
        *("baseline-ahead", "baseline-near", "second-opinion", "published-order", "error-unknown"),
        *("few-rows", "one-group", "checkpoints-failed"),
    }
    reasons = {each.reason.code for each in verdicts if each.reason is not None}
    assert reasons == {"task-not-calibrated", "estimator-not-calibrated", "encoder-not-calibrated", "no-queries"}


@pytest.mark.parametrize("case", CASES)
def test_every_view_has_the_certainty_and_all_caveats(case: str) -> None:
    ranking, decision = CASES[case], verdict(CASES[case])
    assert json.loads(ranking.to_json())["verdict"] == outcome(ranking)["verdict"]
    texts = [note.text for note in decision.caveats]
    assert all(text in summary(ranking) and text in recommendation(ranking) for text in texts)
    codes = " ".join(note.code for note in decision.caveats)
    picks = [record for record in views.flat_records(ranking) if record["pick"]]
    expected = [] if decision.checkpoint is None else [(decision.checkpoint, decision.certainty, codes)]
    assert [(record["checkpoint"], record["certainty"], record["caveats"]) for record in picks] == expected
    assert decision.certainty == "no score" or all(markdown_text(text) in card(ranking) for text in texts)
    if decision.checkpoint is not None:
        assert decision.certainty in card(ranking, decision.checkpoint)


def test_a_gap_is_probable_if_no_interval_contains_zero() -> None:
    certainties = {
        "a gap beyond the interval": ("org/c", "probable", ()),
        "a gap within the interval": ("org/c", "best estimate", ("org/b", "org/a")),
        "no queries": ("org/top", "best estimate", ("org/small",)),
        "four times the rows": ("org/a", "tie", ("org/b",)),
    }
    found = {case: verdict(CASES[case]) for case in certainties}
    assert {case: (each.checkpoint, each.certainty, each.rivals) for case, each in found.items()} == certainties


def test_nothing_is_recommended_if_the_best_explains_no_more_than_its_own_noise() -> None:
    assert verdict(CLEAR).checkpoint == "org/a"
    assert (verdict(NOISE).checkpoint, verdict(NOISE).certainty) == (None, "nothing explained")
    assert recommendation(NOISE).startswith(str(advice(NOISE)))
    assert expected_gap(NOISE) == []
    for about in ("org/a", None):
        assert card(NOISE, about) != card(CLEAR, about)


def test_confirmed_is_what_is_above_the_baseline_and_better_than_all_others() -> None:
    outcomes = {
        "the second is the best": ("org/b", "confirmed"),
        "one was fine-tuned": ("org/a", "measured"),
        "all are near": ("org/a", "measured"),
        "the best is no better than the baseline": ("org/a", "measured"),
        "spread": ("org/a", "confirmed"),
        "wide spread": ("org/a", "measured"),
        "no noise": ("org/a", "confirmed"),
        "nothing is right": (None, "no better than the baseline"),
    }
    assert {case: (verdict(CASES[case]).checkpoint, verdict(CASES[case]).outcome) for case in outcomes} == outcomes
    assert finetuning_summary(CLEAR) is None


def test_numbers_of_rows_are_suggested_as_max_samples_counts_them() -> None:
    suggested = {
        "four times the rows": 400,
        "the split has fewer": 350,
        "few questions": 300,
        "words": 1600,
        "few words": 600,
    }
    for case, rows in suggested.items():
        assert f"max_samples={rows}" in str(advice(CASES[case]))
    for case in ("the split has no more", "equal scores", "no more questions", "no more words"):
        assert "max_samples" not in str(advice(CASES[case]))


def without_advice() -> Iterator[Ranking]:
    yield shared((0.6, 0.6, 0.6), SECOND)
    equal = ranked([Row(name, scores={"emms": Score(0.5)}) for name in ("org/a", "org/b")], "emms")
    assert equal[0].tied
    yield example(rows=equal)
    yield example(rows=(Row("org/a", error="broken"),))


@pytest.mark.parametrize("ranking", list(without_advice()), ids=["clear", "no folds", "failed"])
def test_a_clear_winner_and_scores_without_folds_call_for_no_advice(ranking: Ranking) -> None:
    assert advice(ranking) is None


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps({case: outcome(ranking) for case, ranking in CASES.items()}, indent=1, ensure_ascii=False) + "\n"
    )
