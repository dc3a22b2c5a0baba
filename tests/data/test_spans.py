"""Answers that occur in their contexts: which spans become rows, and when answers are texts instead."""

from __future__ import annotations

from collections import Counter
from typing import Any

import datasets
import pytest

from hf_emms.data import Sample
from hf_emms.inputs import Pairs, Spans
from hf_emms.options import SampleOptions
from hf_emms.tasks import Example
from hf_emms.tasks.question_answering import all_answers, find_spans, similar_spans
from tests.helpers.rows import THINGS, answered
from tests.helpers.samples import load_sample, refused


def answers_of(sample: Sample) -> dict[str, list[tuple[str, int]]]:
    """Question → the texts of its spans, and whether each is the answer, from left to right."""
    assert isinstance(sample.inputs, Spans)
    found: dict[str, list[tuple[str, int]]] = {}
    for place, code in zip(sample.input_of_row, sample.codes.tolist(), strict=True):
        question, _, text = sample.inputs[int(place)]
        found.setdefault(question, []).append((text, code))
    return found


OWN = [THINGS[i // 2 % len(THINGS)] for i in range(20)]


def with_answers(answers: list[str]) -> datasets.Dataset:
    """The questions of `answered` with answers that nothing places in their contexts."""
    return answered().remove_columns("answers").add_column("answer", answers)


def test_an_answer_and_three_spans_of_as_many_words_are_the_rows_of_a_question() -> None:
    sample = load_sample(answered())
    assert (sample.task.id, sample.form, sample.categorical) == ("question-answering", "spans", True)
    assert sample.label_texts == ("not the answer", "the answer")
    spans = answers_of(sample)
    assert (len(sample), len(sample.inputs), sample.n_read, len(spans)) == (80, 80, 20, 20)
    for i in range(20):
        rows = spans[f"what is {i}?"]
        answer = THINGS[i // 2 % len(THINGS)]
        assert [text for text, code in rows if code] == [answer]
        others = [text for text, code in rows if not code]
        assert len(set(others)) == 3
        assert {len(text.split()) for text in others} == {len(answer.split())}
        assert not any(text in answer or answer in text for text in others)
        # as answers do, they leave the punctuation around them out
        assert not any(text[0] in ",;." or text[-1] in ",;." for text in others)


def test_spans_of_one_context_share_a_group() -> None:
    sample = load_sample(answered())
    groups: dict[str, set[int]] = {}
    for place, group in zip(sample.input_of_row, sample.groups.tolist(), strict=True):
        groups.setdefault(sample.inputs[int(place)][1], set()).add(group)
    assert sorted(map(len, groups.values())) == [1] * 10
    assert len(set.union(*groups.values())) == 10


def test_the_draw_depends_on_the_seed_and_the_question_alone() -> None:
    rows = answered()
    one, same, other = load_sample(rows), load_sample(rows.select(range(19, -1, -1))), load_sample(rows, seed=1)
    assert answers_of(one) == answers_of(same)
    assert (one.fingerprint, one.inputs_fingerprint) == (same.fingerprint, same.inputs_fingerprint)
    assert answers_of(one) != answers_of(other)
    assert one.inputs_fingerprint != other.inputs_fingerprint
    few = load_sample(rows, max_samples=6)
    assert few.n_read == 6
    assert answers_of(few).items() <= answers_of(one).items()


SAIL = "They sail the green boat on the sea to an island, or so."
QUESTIONS = {
    "what?": Example(1, ("what?", SAIL), ("green boat", "boat", "sea"), (14, None, 32)),
    **{f"who {number}?": Example(number, (f"who {number}?", SAIL), (), ()) for number in (2, 8, 13)},
    "who?": Example(6, ("who?", "A cat ran."), (), ()),
    "why?": Example(7, ("why?", "!?"), (), ()),
    "which?": Example(9, ("which?", SAIL), ("ship",), (None,)),
}


def test_the_spans_of_questions_and_all_that_is_said_of_them() -> None:
    items, notes = all_answers([*QUESTIONS.values()], SampleOptions("x", references="first"))
    context_of = {example.id: example.contents for example in QUESTIONS.values()}
    spans: dict[str, list[tuple[str, str]]] = {}
    for number, start, stop, label in items or ():
        question, context = context_of[number]
        spans.setdefault(question, []).append((context[start:stop], label))
    wrong = {
        "who 2?": ("boat", "the", "green", "so"),
        "who 8?": ("on the", "sail the", "to an", "island, or"),
        "who 13?": ("the green boat", "island, or so", "sail the green", "to an island"),
        "who?": ("A cat", "cat ran"),
    }
    others = [(text, "not the answer") for text in ("on the", "They sail", "island, or")]
    more = [("boat", "another answer"), ("sea", "another answer")]
    assert spans == {
        "what?": [("green boat", "the answer"), *others, *more],
        **{question: [(text, "not the answer") for text in texts] for question, texts in wrong.items()},
    }
    assert notes == [
        "18 spans of 2 contexts, for 5 questions: the answer and up to 3 other spans of as many words",
        "questions without an answer: 5; none of their spans is the answer",
        "skipped questions, whose answers are not in their contexts: 2",
    ]


def test_no_span_of_an_unanswerable_question_is_the_answer() -> None:
    answers = [one if i % 3 == 0 else {"text": [], "answer_start": []} for i, one in enumerate(answered()["answers"])]
    sample = load_sample(answered(answers=answers))
    assert (sample.form, sample.n_read, sample.available) == ("spans", 20, 20)
    assert Counter(code for spans in answers_of(sample).values() for _, code in spans) == {0: 73, 1: 7}
    few = load_sample(answered(answers=answers), max_samples=6)
    assert answers_of(few).items() <= answers_of(sample).items()


@pytest.mark.parametrize(
    ("answers", "form", "note"),
    [
        (["yes", "no"] * 10, "text", "20 rows from"),
        ([*OWN[:9], *["they did"] * 11], "text", "only 9 of 20 answers are in their contexts"),
        ([*OWN[:10], *["they did"] * 10], "spans", "skipped questions, whose answers are not in their contexts: 10"),
        (["Harbour"] * 10 + ["no"] * 10, "text", "20 rows from"),
    ],
    ids=["yes or no", "fewer than half occur there", "half occur there", "another case"],
)
def test_answers_in_words_of_their_own_are_texts(answers: list[str], form: str, note: str) -> None:
    sample = load_sample(with_answers(answers), task="question-answering")
    assert (sample.form, len(sample)) == (form, 20 if form == "text" else 40)
    assert isinstance(sample.inputs, Pairs if form == "text" else Spans)
    assert sample.reading is not None
    assert any(note in fact for fact in sample.reading.facts), sample.reading.facts


def test_the_form_may_be_asked_for() -> None:
    texts = load_sample(answered(), label_form="text")
    assert (texts.form, len(texts), texts.label_texts) == ("text", 20, tuple(sorted(THINGS)))
    assert isinstance(texts.inputs, Pairs)
    assert load_sample(answered(), label_form="spans").fingerprint == load_sample(answered()).fingerprint
    few = with_answers(["mat", *[f"nothing {i}" for i in range(19)]])
    assert load_sample(few, task="question-answering").form == "text"


def test_forms_of_other_tasks_are_refused() -> None:
    classes = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    for data, form in ((classes, "spans"), (answered(), "both")):
        assert f'label_form="{form}" does not fit' in refused(data, label_form=form).message


def test_a_context_of_nothing_but_its_answer_keeps_that_alone() -> None:
    rows = answered()
    rows = rows.map(lambda row: {"context": row["answers"]["text"][0]} if row["question"] == "what is 6?" else {})
    rows = rows.map(lambda row: {"answers": {"text": row["answers"]["text"], "answer_start": [0]}})
    sample = load_sample(rows)
    assert answers_of(sample)["what is 6?"] == [("green boat", 1)]
    alone = rows.map(lambda row: {"context": row["answers"]["text"][0]})
    assert load_sample(alone).form == "text"


ANNOTATED = [{"text": ["green boat", "boat", "boat", "sea"], "answer_start": [14, 20, 20, 29]}]


@pytest.mark.parametrize(
    ("references", "answers"),
    [("mean", ["boat"]), ("first", ["green boat"]), ("all", ["green boat", "boat", "sea"])],
)
def test_no_answer_of_any_annotator_is_among_the_others(references: Any, answers: list[str]) -> None:
    rows = {"context": ["They sail the green boat on the sea to an island, or so."], "question": ["what?"]}
    for seed in range(5):
        data = datasets.Dataset.from_dict({**rows, "answers": ANNOTATED})
        spans = answers_of(load_sample(data, references=references, seed=seed))["what?"]
        assert [text for text, code in spans if code] == answers
        words = {word for text, code in spans if not code for word in text.split()}
        assert words
        assert not words & {"green", "boat", "sea"}


def test_spans_are_found_by_their_start_else_as_whole_words_else_anywhere() -> None:
    text = "The artist saw art; more art was sold."
    assert find_spans(text, ["art"], [19]) == [(15, 18)]
    assert find_spans(text, ["art"], [25]) == [(25, 28)]
    assert find_spans(text, ["art"], [21]) == [(15, 18)]
    assert find_spans("a cat", ["cat"], [None]) == [(2, 5)]
    assert find_spans(text, ["art", " saw ", "tist", "Art"], [None] * 4) == [(15, 18), (11, 14), (6, 10)]
    assert find_spans("他在北京大学学习。", ["北京"], [None]) == [(2, 4)]


def test_scripts_without_spaces_count_characters() -> None:
    for span, taken, others in (((4, 7), (4, 7), ["one", "three", "four", "five"]), ((4, 14), (4, 14), ["four. five"])):
        text = "one two, three four. five"
        assert [text[start:stop] for start, stop in similar_spans(text, span, [taken])] == others
    text = "他在北京大学学习。"
    places = similar_spans(text, (2, 4), [(2, 4)])
    assert [text[start:stop] for start, stop in places] == ["他在", "大学", "学学", "学习"]
    accented = "Der Bär, «groß» und ﬂink — läuft!"
    places = similar_spans(accented, (4, 7), [(4, 7)])
    assert [accented[start:stop] for start, stop in places] == ["Der", "groß", "und", "ﬂink", "läuft"]


def test_the_start_may_be_a_column_beside_the_answer() -> None:
    columns = {"context": ["a cat and a cat", "a dog or a dog"], "question": ["which?", "who?"]}
    rows = datasets.Dataset.from_dict({**columns, "answer": ["cat", "dog"], "answer_start": [12, 11]})
    inputs = load_sample(rows, task="qa").inputs
    assert isinstance(inputs, Spans)
    assert {(12, 15), (11, 14)} <= set(map(tuple, inputs.bounds[:, 1:].tolist()))
