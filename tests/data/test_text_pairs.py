"""Two texts with a relation or a score, recognised by their names."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest

from tests.helpers.samples import load_sample, refused

CLASSES = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])


def pairs(first: str, second: str, label: str, values: list[Any], feature: Any = None) -> datasets.Dataset:
    texts = {first: [f"a small cat {row}" for row in range(len(values))], second: ["a dog"] * len(values)}
    data = datasets.Dataset.from_dict({"idx": list(range(len(values))), **texts, label: values})
    return data.cast_column(label, feature) if feature else data


@pytest.mark.parametrize(
    ("first", "second", "label"),
    [
        ("premise", "hypothesis", "label"),
        ("sentence1", "sentence2", "label"),
        ("sentence_A", "sentence_B", "label"),
        ("text1", "text2", "label"),
        ("text", "text_pair", "label"),
        ("question1", "question2", "is_duplicate"),
        ("question", "sentence", "label"),
        ("query", "document", "label"),
        ("claim", "evidence", "label"),
    ],
)
def test_conventional_names_are_a_pair(first: str, second: str, label: str) -> None:
    sample = load_sample(pairs(first, second, label, [0, 1, 2] * 4, CLASSES))
    assert sample.task.id == "text-pair-classification"
    assert sample.columns == {"text": first, "text_pair": second, "label": label}
    assert sample.label_texts == ("contradiction", "entailment", "neutral")
    assert (len(sample), len(sample.inputs), len(set(sample.groups.tolist()))) == (12, 12, 12)


@pytest.mark.parametrize(
    ("columns", "values", "task", "labels"),
    [
        (("premise", "hypothesis", "label"), [0, 1], "text-pair-classification", ("0", "1")),
        (("sentence1", "sentence2", "label"), [0, 1], "text-pair-classification", ("0", "1")),
        (("text1", "text2", "label"), [0, 1], "text-pair-classification", ("0", "1")),
        (("question", "passage", "answer"), [True, False], "text-pair-classification", ("False", "True")),
        (("question", "passage", "answer"), ["dog", "a"], "question-answering", ("not the answer", "the answer")),
        (("sentence1", "sentence2", "score"), [0.5, 2.0, 4.8], "sentence-similarity", (0.5, 2, 4.8)),
        (("sentence1", "sentence2", "relevance"), [0, 1, 2], "sentence-similarity", (0, 1, 2)),
        (("sentence1", "sentence2", "label"), [0.5, 2.0, 1.0], "sentence-similarity", (0.5, 1, 2)),
    ],
)
def test_values_and_names_say_whether_labels_are_classes_scores_or_answers(
    columns: tuple[str, str, str], values: list[Any], task: str, labels: tuple[Any, ...]
) -> None:
    sample = load_sample(pairs(*columns, values * (12 // len(values))))
    read = sample.label_texts if sample.label_values is None else tuple(np.unique(sample.label_values).tolist())
    assert (sample.task.id, read) == (task, labels)
    assert set(sample.columns.values()) == set(columns)


def test_classes_and_scores_of_the_same_pairs_are_two_tasks_to_choose_from() -> None:
    sick = pairs("sentence_A", "sentence_B", "label", [0, 1, 2] * 4, CLASSES)
    sick = sick.add_column("relatedness_score", [1.5, 2.5, 4.5] * 4)
    error = refused(sick)
    assert "fit several tasks" in error.message
    assert error.hint == 'task="text-pair-classification" or "sentence-similarity"'
    assert load_sample(sick, task="sts").columns["label"] == "relatedness_score"


def test_a_pair_with_an_empty_text_is_left_out_and_counted() -> None:
    data = pairs("premise", "hypothesis", "label", [0, 1, 2] * 10, CLASSES)
    data = data.map(lambda row, number: {"hypothesis": " " if number == 4 else row["hypothesis"]}, with_indices=True)
    sample = load_sample(data)
    assert (len(sample), sample.skipped) == (29, 1)
    assert "1 row left out (row 5: the text_pair is empty)" in sample.notes
