"""Questions on pictures and on texts: from rows of every layout to pairs, answers and groups."""

from __future__ import annotations

import random
from typing import Any

import datasets
import numpy as np
import pytest

from hf_emms.data import Sample
from hf_emms.data.files.open_split import JoinedImages, open_memory
from hf_emms.hub import Repo
from hf_emms.inputs import Images, Pairs, UnusableError
from hf_emms.options import SampleOptions
from tests.helpers.rows import image_rows, pictures, png
from tests.helpers.samples import load_sample, reasons, refused


def answers_of(sample: Sample) -> dict[Any, str]:
    """(first part as a pixel or text, second part) → label text, for labels of one text."""
    inputs = [sample.inputs[int(place)] for place in sample.input_of_row]
    firsts = [first if isinstance(first, str) else first.getpixel((0, 0))[0] for first, _ in inputs]
    labels = [sample.label_texts[code] for code in sample.codes]
    return {(first, second): label for first, (_, second), label in zip(firsts, inputs, labels, strict=True)}


def asked(n: int, questions: int = 2) -> datasets.Dataset:
    """Pictures with some questions each, a row each."""
    encoded = [png((i, 0, 0)) for i in range(n) for _ in range(questions)]
    texts = [f"what is {place}?" for _ in range(n) for place in range(questions)]
    answers = [f"Answer {(i + place) % 5}." for i in range(n) for place in range(questions)]
    return image_rows(encoded, question=texts, answer=answers)


# ---- pictures and questions -----------------------------------------------------------------------------------


def test_questions_on_pictures_hold_each_picture_and_each_question_once() -> None:
    sample = load_sample(asked(3))
    assert sample.task.id == "visual-question-answering"
    assert isinstance(sample.inputs, Pairs)
    assert isinstance(sample.inputs.firsts, Images)
    assert (len(sample.inputs), len(sample.inputs.firsts), len(sample.inputs.seconds)) == (6, 3, 2)
    assert answers_of(sample) == {
        (i, f"what is {place}?"): f"answer {(i + place) % 5}" for i in range(3) for place in range(2)
    }
    assert not sample.categorical
    picture_of_row = sample.inputs.parts[sample.input_of_row, 0].tolist()
    assert len(set(zip(picture_of_row, sample.groups.tolist(), strict=True))) == len(set(sample.groups.tolist())) == 3


def test_a_sample_is_spread_over_pictures_and_does_not_depend_on_the_order_of_rows() -> None:
    rows = asked(50, 10)
    shuffled = rows.select(random.Random(1).sample(range(len(rows)), len(rows)))
    one, same, other = (load_sample(r, max_samples=40, seed=s) for r, s in ((rows, 0), (shuffled, 0), (rows, 1)))
    assert answers_of(one) == answers_of(same)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert len(set(one.groups.tolist())) > 20
    assert len(one) == 40


def turns(n: int = 12, each: int = 6) -> datasets.Dataset:
    """Rows as instruction sets have them: one picture in a list, and turns."""
    talk = [[(f"What is {t} in {i}?", f"Thing {(i + t) % 3}.") for t in range(each)] for i in range(n)]
    turns = [[{"user": asks, "assistant": says, "source": "s"} for asks, says in chat] for chat in talk]
    encoded = [[{"bytes": png((i, 0, 0)), "path": None}] for i in range(n)]
    text = datasets.List(dict.fromkeys(("user", "assistant", "source"), datasets.Value("string")))
    features = datasets.Features({"images": datasets.List(datasets.Image()), "texts": text})
    return datasets.Dataset.from_dict({"images": encoded, "texts": turns}, features=features)


def test_turns_become_questions_and_answers() -> None:
    sample = load_sample(turns())
    assert sample.columns == {"image": "images", "question": "texts.user", "answer": "texts.assistant"}
    assert len(sample) == 72
    assert answers_of(sample)[3, "What is 4 in 3?"] == "thing 1"
    assert len(sample.inputs.firsts) == 12  # type: ignore[attr-defined]


def test_rows_of_several_pictures_or_without_an_answer_are_left_out() -> None:
    good = turns(60, 1)
    two = good.select([0]).map(lambda row: {"images": row["images"] * 2})
    sample = load_sample(datasets.concatenate_datasets([good, two]))
    assert (len(sample), sample.skipped) == (60, 1)
    assert "a row has 2 pictures" in reasons(sample)[0]
    answers = [["x", "y"]] * 29 + [["x"]]
    short = load_sample(image_rows(pictures(30), question=[["a?", "b?"]] * 30, answer=answers))
    assert (len(short), short.skipped) == (59, 1)
    assert "the last question has no answer" in reasons(short)[0]
    blank = asked(30).map(lambda row, i: {"answer": " " if i == 3 else row["answer"]}, with_indices=True)
    assert (len(load_sample(blank)), load_sample(blank).skipped) == (59, 1)


# ---- several answers ------------------------------------------------------------------------------------------


def annotated() -> datasets.Dataset:
    """Four annotators' answers to each of two questions."""
    answers = [["Yes", "yes.", "no", "yes"], ["no", "no", "maybe", "no"]]
    return image_rows(pictures(2), question=["a?", "b?"], answers=answers)


def test_answers_of_several_annotators_are_a_weighted_mean() -> None:
    sample = load_sample(annotated())
    assert sample.label_texts == ("maybe", "no", "yes")
    assert sample.soft_labels is not None
    table = sample.label_embeddings(np.eye(3, dtype=np.float32))
    questions = [sample.inputs[int(place)][1] for place in sample.input_of_row]
    by_question = dict(zip(questions, table[sample.codes].tolist(), strict=True))
    assert by_question == {"a?": [0, 0.25, 0.75], "b?": [0.25, 0.75, 0]}


def test_other_labels_of_the_same_inputs_are_another_sample_of_them() -> None:
    samples = [load_sample(annotated(), references=how) for how in ("mean", "first", "all")]
    assert len({one.fingerprint for one in samples}) == 3
    assert len({one.inputs_fingerprint for one in samples}) == 1
    assert load_sample(annotated().select([0, 1, 0])).inputs_fingerprint == samples[0].inputs_fingerprint
    assert load_sample(asked(2)).inputs_fingerprint != samples[0].inputs_fingerprint


def test_answers_in_rows_of_their_own_are_gathered() -> None:
    rows = image_rows([png((1, 0, 0))] * 3 + [png((2, 0, 0))], question=["a?"] * 4, answer=["x", "y", "x", "z"])
    sample = load_sample(rows)
    assert len(sample) == 2
    highest = sample.label_embeddings(np.eye(3, dtype=np.float32)).max(axis=1)
    assert sorted(highest.tolist()) == pytest.approx([2 / 3, 1])


# ---- texts and questions --------------------------------------------------------------------------------------


def paragraphs(n: int = 20) -> datasets.Dataset:
    """Rows in SQuAD's format; every fifth question has no answer."""
    answers = [{"text": [f"Word {i}"] * (i % 5 > 0), "answer_start": [3] * (i % 5 > 0)} for i in range(n)]
    contexts = [f"On {i // 2} stands a word." for i in range(n)]
    questions = [f"which one is {i}?" for i in range(n)]
    columns = {"title": ["t"] * n, "context": contexts, "question": questions, "answers": answers}
    return datasets.Dataset.from_dict(columns)


def test_questions_on_texts_share_a_group_by_context_and_may_have_no_answer() -> None:
    sample = load_sample(paragraphs())
    assert sample.task.id == "question-answering"
    assert sample.columns == {"question": "question", "context": "context", "answer": "answers.text"}
    answers = answers_of(sample)
    assert answers["which one is 5?", "On 2 stands a word."] == "no answer"
    assert answers["which one is 6?", "On 3 stands a word."] == "word 6"
    assert (len(sample.inputs.seconds), len(set(sample.groups.tolist()))) == (10, 10)  # type: ignore[attr-defined]


# ---- which columns --------------------------------------------------------------------------------------------


def test_a_struct_may_be_named_instead_of_its_field_that_the_task_knows() -> None:
    sample = load_sample(paragraphs(), task="qa", columns={"answer": "answers"})
    assert sample.columns["answer"] == "answers.text"
    error = refused(paragraphs(), task="qa", columns={"answer": "answers.answer_start"})
    assert "contains integers" in error.message
    assert "answers.text (strings)" in error.message


def test_questions_beside_pictures_are_no_captions_and_answers_alone_are() -> None:
    assert load_sample(asked(3)).task.id == "visual-question-answering"
    assert load_sample(asked(3).remove_columns("question")).task.id == "image-to-text"
    assert load_sample(asked(3), task="image-captioning").columns == {"image": "image", "text": "answer"}


def test_pictures_of_another_configuration_are_read_by_their_ids() -> None:
    rows = image_rows(pictures(5), id=[f"n{i}" for i in range(5)])
    split = open_memory("org/name", Repo("org/name", "dataset", ""), rows, None, SampleOptions("x"))
    joined = JoinedImages(split, "id", "image")
    assert joined["n3"]["bytes"] == pictures(5)[3]
    with pytest.raises(UnusableError, match="no image with the id 'n9'"):
        joined["n9"]
