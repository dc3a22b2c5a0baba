"""Question answering is scored against all answers, or none, like in SQuAD's script."""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from transformers import AutoTokenizer

from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import load_splits
from hf_emms.options import Options
from tests.finetune.task_rows import loaded
from tests.helpers.tiny_checkpoints import build, without_context


def normalized(answer: str) -> list[str]:
    plain = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def squad(golds: list[list[str]], answers: list[str]) -> dict[str, float]:
    """SQuAD 2.0's evaluation script, version 2.0."""
    best = []
    for texts, answer in zip(golds, answers, strict=True):
        words, scores = normalized(answer), list[tuple[float, bool]]()
        for right in [gold for text in texts if (gold := normalized(text))] or [[]]:
            common = (Counter(right) & Counter(words)).total()
            f1 = 2 * common / (len(right) + len(words)) if right and words else float(right == words)
            scores.append((f1, right == words))
        best.append(np.max(scores, axis=0))
    return dict(zip(("F1", "exact match"), np.mean(best, axis=0), strict=True))


TASK: dict[str, Any] = {"task": "question-answering", "columns": {"answer": "answers.text"}}
CONTEXT = "In the year 1066 the Norman army of William, a duke, crossed the sea near a (town) and won the battle"
ANSWERS = [["1066", "the year 1066"], ["William, a duke", "the Norman army of William", "William"], ["town"], ["the"]]


def questions(count: int, *, unanswered: bool) -> datasets.Dataset:
    """Questions with several answers, the first one twice; with `unanswered`, every fifth has none."""
    rows = []
    for number in range(count):
        context = f"{CONTEXT} {number}"
        texts = ANSWERS[number % len(ANSWERS)] if not unanswered or number % 5 else []
        texts = [*texts, *texts[:1]]
        starts = [context.index(text) for text in texts]
        answers = {"text": texts, "answer_start": starts}
        rows.append({"question": f"what is {number}?", "context": context, "answers": answers})
    features = {"text": [datasets.Value("string")], "answer_start": [datasets.Value("int64")]}
    columns = {"question": datasets.Value("string"), "context": datasets.Value("string"), "answers": features}
    return datasets.Dataset.from_list(rows, datasets.Features(columns))


@pytest.mark.parametrize("unanswered", [False, True])
def test_scores_equal_those_of_the_squad_script(unanswered: bool) -> None:
    data = questions(60, unanswered=unanswered)
    with_test = datasets.DatasetDict(train=data.select(range(45)), test=data.select(range(45, 60)))
    splits = load_splits(Options.of(with_test if unanswered else data, **TASK).sample)
    assert sum(map(len, splits.parts.values())) == 60
    golds = {row["question"]: row["answers"]["text"] for row in data}
    test = splits.test
    asked = [test.inputs[number][0] for number in test.input_of_row]
    expected = [golds[question] for question in asked]
    assert any(expected)
    assert all(expected) != unanswered
    choose = np.random.default_rng(0)
    said = ["", "the Norman army!", "a William, duke", "year 1066", "Town", "THE", "the sea", "a"]
    for answers in (
        [texts[-1] if texts else "" for texts in expected],
        [texts[0] if texts else "the sea" for texts in expected],
        *([said[number] for number in choose.integers(len(said), size=len(test))] for _ in range(20)),
    ):
        scores = {
            metric.name: metric.compute(answers, test.references)
            for metric in head_of(splits.task).metrics(test.references)
        }
        assert scores == pytest.approx(squad(expected, answers))


@pytest.mark.parametrize("unanswered", [False, True])
def test_a_model_answers_nothing_only_if_training_had_unanswerable_questions(unanswered: bool, tmp_path: Path) -> None:
    network, splits = loaded(build(tmp_path, "bert"), questions(60, unanswered=unanswered), **TASK)
    windows = network.rows(splits.test, False)
    shape = len(windows), windows.batch(np.arange(len(windows)))["input_ids"].shape[1]
    nothing = np.zeros(shape)
    nothing[:, 0] = 1  # the first token, which belongs to no text
    answers = network.predictions((2 * nothing, -nothing), splits.test)
    assert {answer == "" for answer in answers} == {unanswered}
    answers = network.predictions((nothing, -nothing), splits.test)
    assert "" not in answers, "as likely as an answer"


def asked_for_two_words(row: dict[str, Any], number: int) -> dict[str, Any]:
    """A question whose answer is two words of the context and the text between them, or its first word."""
    first, second = list(re.finditer(r"\w+", row["context"]))[number % 20 :][:2]
    answers = [row["context"][first.start() : second.end()], "In"]
    return {"question": "?", "answers": {"text": answers, "answer_start": [first.start(), 0]}}


def test_labels_of_answer_tokens_decode_to_the_answers(tmp_path: Path) -> None:
    """An answer has at most 30 tokens, and none of adjacent punctuation."""
    folder = build(tmp_path, "bert")
    asked = questions(60, unanswered=False).map(asked_for_two_words, with_indices=True)
    network, splits = loaded(folder, asked, **TASK)
    for split in (splits.train, splits.test):
        rows = network.rows(split, True)
        batch = rows.batch(np.arange(len(rows)))
        sides = [np.zeros(batch["input_ids"].shape) for _ in range(2)]
        for outputs, name in zip(sides, ("start_positions", "end_positions"), strict=True):
            outputs[np.arange(len(rows)), batch[name]] = 1
        assert network.predictions(tuple(sides), split) == [answers[0].text for answers in split.references]
    contexts = [splits.test.inputs[number][1] for number in splits.test.input_of_row]
    first = batch["token_type_ids"].argmax(1)
    start, end = np.zeros(batch["input_ids"].shape), np.tile(np.arange(batch["input_ids"].shape[1]), (len(rows), 1))
    start[np.arange(len(rows)), first] = 1e6 - 1e3 * np.arange(len(rows))  # the first window of a text
    tokens = AutoTokenizer.from_pretrained(folder)(contexts, add_special_tokens=False, return_offsets_mapping=True)
    longest = [context[: offsets[29][1]] for context, offsets in zip(contexts, tokens["offset_mapping"], strict=True)]
    assert min(map(len, tokens["input_ids"])) > 30
    assert network.predictions((start, end), splits.test) == longest
    # A question uses at most half of a window of 40 or 384 tokens, without three special tokens.
    asked = questions(60, unanswered=False).map(lambda row: {"question": "cat " * 200})
    for checkpoint, limit in zip(without_context(tmp_path, tmp_path / "wide"), (40, 384), strict=True):
        network, splits = loaded(checkpoint, asked, **TASK)
        window = network.rows(splits.test, False).batch(np.arange(1))
        assert (window["token_type_ids"] == 0).sum() == 2 + (limit - 3) // 2
