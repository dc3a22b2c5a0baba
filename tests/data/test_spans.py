"""Answers that occur in their contexts: which spans become rows, and when answers are texts instead."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from hf_emms.data import Sample
from hf_emms.inputs import Pairs, Spans
from hf_emms.tasks.question_answering import find_spans, similar_spans
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
    assert any("80 spans of 10 contexts, for 20 questions" in note for note in sample.notes)


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


def test_questions_whose_answer_is_no_span_are_left_out_and_counted() -> None:
    answers = answered()["answers"][:]
    answers[4] = {"text": ["a word that is not there"], "answer_start": [3]}
    sample = load_sample(answered(answers=answers))
    assert (sample.n_read, sample.available) == (19, 19)
    assert "what is 4?" not in answers_of(sample)
    assert "questions left out, because no answer occurs in their context: 1" in sample.notes


def test_no_span_of_an_unanswerable_question_is_the_answer() -> None:
    answers = [one if i % 3 == 0 else {"text": [], "answer_start": []} for i, one in enumerate(answered()["answers"])]
    sample = load_sample(answered(answers=answers))
    assert (sample.form, sample.n_read, sample.available) == ("spans", 20, 20)
    for question, spans in answers_of(sample).items():
        answerable = int(question.split()[2].removesuffix("?")) % 3 == 0
        assert sum(code for _, code in spans) == answerable
        assert len({text for text, _ in spans}) == len(spans) == 4
        assert answerable or len({len(text.split()) for text, _ in spans}) == 1
    assert "questions without answer: 13; all of their spans are not the answer" in sample.notes
    assert not any("left out" in note for note in sample.notes)
    few = load_sample(answered(answers=answers), max_samples=6)
    assert answers_of(few).items() <= answers_of(sample).items()


@pytest.mark.parametrize(
    ("answers", "noted"),
    [
        (["yes", "no"] * 10, False),
        (["cat" if i % 5 == 4 else f"they did {i}" for i in range(20)], True),
        (["Harbour"] * 10 + ["no"] * 10, False),
    ],
    ids=["yes or no", "few occur there", "another case"],
)
def test_answers_in_words_of_their_own_are_texts(answers: list[str], noted: bool) -> None:
    sample = load_sample(with_answers(answers))
    assert sample.form == "text"
    assert isinstance(sample.inputs, Pairs)
    assert len(sample) == 20
    assert any("occurs in the context of 2 of 20 rows only" in note for note in sample.notes) == noted


def test_the_form_may_be_asked_for() -> None:
    texts = load_sample(answered(), label_form="text")
    assert (texts.form, len(texts), texts.label_texts) == ("text", 20, tuple(sorted(THINGS)))
    assert isinstance(texts.inputs, Pairs)
    assert load_sample(answered(), label_form="spans").fingerprint == load_sample(answered()).fingerprint
    assert load_sample(with_answers(["mat", *[f"nothing {i}" for i in range(19)]])).form == "text"
    assert load_sample(with_answers([*["harbour"] * 3, *["x1 x2"] * 17]), label_form="spans").n_read == 2


def test_spans_of_what_has_none_are_refused() -> None:
    error = refused(with_answers(["yes", "no"] * 10), label_form="spans")
    assert error.message == "no answer occurs in its context among other words: there are no spans to choose from"
    assert 'label_form="text"' in str(error.hint)
    classes = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    assert "no span of a text" in refused(classes, label_form="spans").message
    assert "is no number" in refused(answered(), label_form="both").message


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
    [("mean", ["boat"]), ("majority", ["boat"]), ("first", ["green boat"]), ("all", ["green boat", "boat", "sea"])],
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
    assert find_spans(text, ["art"], [21]) == [(25, 28)]
    assert find_spans(text, ["art"], [25]) == [(25, 28)]
    assert find_spans("a cat", ["cat"], [None]) == [(2, 5)]
    assert find_spans(text, ["art", " saw ", "tist", "Art"], [None] * 4) == [(15, 18), (11, 14), (6, 10)]
    assert find_spans("他在北京大学学习。", ["北京"], [None]) == [(2, 4)]


def test_scripts_without_spaces_count_characters() -> None:
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
