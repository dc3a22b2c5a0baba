"""Each head has a baseline that fine-tuning has to beat. Checkpoints that learn nothing are trained once more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

import hf_emms
from hf_emms.finetune.jackknife import measure
from hf_emms.heads import LabeledSplit
from hf_emms.heads.metrics import ACCURACY, byte_likelihood
from hf_emms.heads.spans import AnswerSpan
from hf_emms.heads.words import TaggedText
from hf_emms.inputs import Pairs
from hf_emms.publish.card_text import card
from hf_emms.ranking import Ranking
from hf_emms.ranking.advice import recommendation
from hf_emms.ranking.verdict import verdict
from hf_emms.tasks import get_task
from tests.finetune.make import FAST, Notes, colours, ranking, save
from tests.helpers.tiny_checkpoints import build


def split(*references: Any, inputs: Sequence[Any] | None = None) -> LabeledSplit:
    return LabeledSplit.of_inputs(inputs if inputs is not None else range(len(references)), references)


def texts(*texts: str) -> tuple[tuple[str, float], ...]:
    return tuple((text, 1.0) for text in texts)


def tagged(*tags: str) -> TaggedText:
    return TaggedText(tuple((2 * place, 2 * place + 1) for place in range(len(tags))), tags)


CONTEXTS = Pairs(["who?"], ["a cat", "the dog barks"], np.array([[0, 0], [0, 1]]))
MORE_CONTEXTS = Pairs(["who?"], ["a cat", "the dog barks"], np.array([[0, 0], [0, 1], [0, 1]]))


@pytest.mark.parametrize(
    ("task", "train", "test", "expected"),
    [
        ("text-classification", split("a", "b", "b"), split("a", "c"), ["b", "b"]),
        # The F1 of a rare class is best if all predictions are that class.
        ("text-pair-classification", split("no", *["yes"] * 9), split("yes"), ["no"]),
        # Chosen by micro F1, not by macro F1 or accuracy.
        ("text-classification", split((), (), ("a",), ("a", "b", "c")), split(("c",)), [("a",)]),
        # At most ten classes are compared.
        ("text-classification", split(tuple("abcdefghijk")), split(("k",)), [tuple("abcdefghij")]),
        # With more than 500 rows, every second row decides.
        ("text-classification", split(*["a", "b"] * 130, *["c", "b"] * 120, "c"), split("c"), ["a"]),
        ("text-regression", split(1.0, 2.0, 6.0), split(0.0, 9.0), [3.0, 3.0]),
        ("token-classification", split(tagged("O", "O", "O", "B-x")), split(tagged("O", "O")), [("B-x", "B-x")]),
        ("token-classification", split(tagged("NOUN", "VERB", "NOUN")), split(tagged("VERB")), [("NOUN",)]),
        ("visual-question-answering", split(texts("yes"), texts("no"), texts("no")), split(texts("2")), ["no"]),
        ("referring-expression", split((0.2, 0.4, 0.2, 0.2), (0.4, 0.2, 0.4, 0.2)), split(()), [(0.3, 0.3, 0.3, 0.2)]),
        (
            "image-to-text",
            split(*map(texts, ("a cat on a mat", "a red cat on a mat", "a dog on a mat", "a dog"))),
            split(texts("x")),
            ["a cat on a mat"],
        ),
        (  # At most ten texts are compared: here every second one.
            "image-to-text",
            split(
                *map(texts, ["a dog on a red mat", "a cat on a mat"] * 2 + ["dogs", "a cat on a mat"] * 3 + ["dogs"])
            ),
            split(texts("x")),
            ["a dog on a red mat"],
        ),
        ("question-answering", split((), (), inputs=CONTEXTS), split((), inputs=CONTEXTS), [""]),
        (
            "question-answering",
            split((AnswerSpan(2, 5, "cat"),), (AnswerSpan(0, 13, "the dog barks"),), inputs=CONTEXTS),
            split((), (), inputs=CONTEXTS),
            ["a cat", "the dog barks"],
        ),
        (  # Chosen by the F1 of words, not by exact matches.
            "question-answering",
            split((), (AnswerSpan(4, 7, "dog"),), (AnswerSpan(4, 7, "dog"),), inputs=MORE_CONTEXTS),
            split((), (), inputs=CONTEXTS),
            ["a cat", "the dog barks"],
        ),
        ("automatic-speech-recognition", split(texts("hello")), split(texts("a"), texts("b")), ["", ""]),
    ],
)
def test_the_baseline_is_the_best_constant_for_training_rows(
    task: str, train: LabeledSplit, test: LabeledSplit, expected: list[Any]
) -> None:
    head = get_task(task).head
    assert head is not None
    baseline = head.baseline(train, test)
    assert baseline is not None
    if task == "referring-expression":
        assert baseline.predictions == [pytest.approx(box) for box in expected]
    else:
        assert list(baseline.predictions) == expected


def test_the_baseline_of_responses_is_the_frequencies_of_bytes() -> None:
    head = get_task("text-generation").head
    assert head is not None
    train, test = split(texts("ab" * 500), texts("ab" * 500)), (split(texts("abba" * 99)), split(texts("xyz" * 99)))
    likely, unlikely = (byte_likelihood(head.baseline(train, part).predictions, part.references) for part in test)
    # Counts of 2,000 letters and 2 ends, plus one for each of 256 bytes and the end.
    assert likely == pytest.approx(1001 / 2259 * (3 / 2259) ** (1 / 396))
    assert unlikely < 0.01


def test_the_gain_over_other_predictions_has_the_error_of_its_differences() -> None:
    right, groups = ["a"] * 50 + ["b"] * 50, np.arange(100, dtype=np.uint64)
    baseline = measure(ACCURACY, ["a"] * 100, right, groups)
    better = measure(ACCURACY, ["a"] * 50 + ["b"] * 10 + ["a"] * 40, right, groups)
    assert better.gain_stderr(baseline) == pytest.approx(math.sqrt(0.1 * 0.9 / 100), rel=0.01)
    assert better.stderr > better.gain_stderr(baseline)
    assert better.is_above(baseline)
    assert not baseline.is_above(better)
    assert not baseline.is_above(baseline)


def images(zoo: Path, data: datasets.Dataset, folder: Path) -> Ranking:
    return ranking(save(data, folder), "image-classification", {}, {str(build(zoo, "resnet")): -0.1})


def test_a_checkpoint_that_learns_nothing_is_trained_at_a_larger_rate_first(zoo: Path, tmp_path: Path) -> None:
    labels = np.random.default_rng(1).permutation([0, 1] * 30).tolist()
    shuffled = colours(60).remove_columns("label").add_column("label", labels).cast(colours(1).features)
    rows, notes = images(zoo, shuffled, tmp_path / "shuffled"), Notes()
    settings = {"epochs": 2, "batch_size": 8, "save_model": str(tmp_path / "model")}
    confirmed = hf_emms.confirm(rows, top=1, progress=notes, **settings)
    (row,) = confirmed.rows
    assert [run.learning_rate for run in row.fine_tuned.runs] == [5e-4, 2e-3, 8e-3]
    assert f"{row.checkpoint}: it learns nothing at these rates: 0.008 is tried too" in notes.lines
    assert not any(run.has_learned for run in row.fine_tuned.runs)
    assert verdict(confirmed).outcome == "no better than the baseline"
    answer = recommendation(confirmed)
    assert answer.startswith("Fine-tuning did not beat the baseline: ")
    assert "the baseline (the same class for all rows: 50.0)" in answer
    assert "After fine-tuning, no checkpoint is better than the baseline for " in card(confirmed)
    assert "(baseline: 50.0)" in card(confirmed, row.checkpoint)
    saved = (tmp_path / "model" / "README.md").read_text()
    assert "It is no better than the baseline" in saved
    assert "| baseline: the same class for all rows | 0.5000 ± " in saved
    assert "best of" not in saved
    own_rates = hf_emms.confirm(rows, top=1, **{**FAST, "epochs": 1})
    assert [run.learning_rate for run in own_rates.rows[0].fine_tuned.runs] == [0.01]
