"""Two texts with a relation or a score, recognised by their names."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from hf_emms.errors import EmmsError
from tests.helpers.samples import load_sample

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
    ("first", "second"), [("premise", "hypothesis"), ("sentence1", "sentence2"), ("text1", "text2")]
)
def test_whole_numbers_named_label_are_classes(first: str, second: str) -> None:
    sample = load_sample(pairs(first, second, "label", [0, 1] * 6))
    assert (sample.task.id, sample.label_texts) == ("text-pair-classification", ("0", "1"))


def test_a_question_with_a_passage_and_yes_or_no_is_a_pair_and_with_a_text_an_answer_is_in_it() -> None:
    yes_no = load_sample(pairs("question", "passage", "answer", [True, False] * 6))
    assert yes_no.task.id == "text-pair-classification"
    assert yes_no.label_texts == ("False", "True")
    answers = load_sample(pairs("question", "passage", "answer", ["dog", "a"] * 6))
    assert answers.task.id == "question-answering"


@pytest.mark.parametrize(
    ("label", "values"), [("score", [0.5, 2.0, 4.8]), ("relevance", [0, 1, 2]), ("label", [0.5, 2.0, 1.0])]
)
def test_scores_are_a_similarity(label: str, values: list[float]) -> None:
    sample = load_sample(pairs("sentence1", "sentence2", label, values * 4))
    assert (sample.task.id, sample.columns["label"], sample.form) == ("sentence-similarity", label, "numbers")
    assert sorted(set(sample.label_values[:, 0].tolist())) == sorted(values)


def test_classes_and_scores_of_the_same_pairs_are_two_tasks_to_choose_from() -> None:
    sick = pairs("sentence_A", "sentence_B", "label", [0, 1, 2] * 4, CLASSES)
    sick = sick.add_column("relatedness_score", [1.5, 2.5, 4.5] * 4)
    with pytest.raises(EmmsError, match="fit several tasks") as refused:
        load_sample(sick)
    assert refused.value.hint == 'task="text-pair-classification" or "sentence-similarity"'
    assert load_sample(sick, task="sts").columns["label"] == "relatedness_score"


def test_a_pair_with_an_empty_text_is_left_out_and_counted() -> None:
    data = pairs("premise", "hypothesis", "label", [0, 1, 2] * 10, CLASSES)
    data = data.map(lambda row, number: {"hypothesis": " " if number == 4 else row["hypothesis"]}, with_indices=True)
    sample = load_sample(data)
    assert (len(sample), sample.skipped) == (29, 1)
    assert "1 row left out (row 5: the text_pair is empty)" in sample.notes
