"""Data of tasks whose labels a checkpoint writes: conversations, instructions, summaries, translations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_emms.inputs.prompt import Message
from tests.helpers.samples import load_sample, reasons, refused

N = 40
QUESTIONS = [f"question number {i}" for i in range(N)]
ANSWERS = [f"answer number {i}" for i in range(N)]
ROLES = {"role": "content", "from": "value"}


def chats(role: str = "role", user: str = "user", assistant: str = "assistant") -> list[list[dict[str, str]]]:
    """Four messages before the answer of each row."""
    start = [("system", "Be brief."), (user, "hello"), (assistant, "hi")]
    turns = [
        [*start, (user, question), (assistant, answer)] for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    return [[{role: who, ROLES[role]: text} for who, text in chat] for chat in turns]


TURNS = [[{"role": "user", "content": text}] for text in QUESTIONS]
REPLIES = [[{"role": "assistant", "content": text}] for text in ANSWERS]


def translations(source: str, target: str) -> dict[str, list[dict[str, str]]]:
    return {"translation": [{target: a, source: q} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]}


# Columns → the task, and the columns of prompts and of responses.
COLUMNS: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "messages": ({"messages": chats()}, ("text-generation", "messages", "messages")),
    "conversations": (
        {"id": ANSWERS, "conversations": chats("from", "human", "gpt")},
        ("text-generation", "conversations", "conversations"),
    ),
    "prompt and completion": (
        {"prompt": QUESTIONS, "completion": ANSWERS},
        ("text-generation", "prompt", "completion"),
    ),
    "both as messages": ({"prompt": TURNS, "completion": REPLIES}, ("text-generation", "prompt", "completion")),
    "instructions": (
        {"instruction": QUESTIONS, "input": ["", "more"] * (N // 2), "output": ANSWERS, "text": ANSWERS},
        ("text-generation", "instruction,input", "output"),
    ),
    "worked answers": ({"question": QUESTIONS, "answer": ANSWERS}, ("text-generation", "question", "answer")),
    "summaries": (
        {"id": QUESTIONS, "article": QUESTIONS, "highlights": ANSWERS},
        ("summarization", "article", "highlights"),
    ),
    "sentences and several summaries": (
        {"source": [["A", text] for text in QUESTIONS], "target": [[text, f"or {text}"] for text in ANSWERS]},
        ("summarization", "source", "target"),
    ),
    "languages in a column": (translations("en", "de"), ("translation", "translation.en", "translation.de")),
    "languages in the order of codes": (translations("de", "fr"), ("translation", "translation.de", "translation.fr")),
    "a column for each language": ({"fr": ANSWERS, "en": QUESTIONS}, ("translation", "en", "fr")),
    "languages with their scripts": (
        {"sentence_deu_Latn": ANSWERS, "sentence_eng_Latn": QUESTIONS},
        ("translation", "sentence_eng_Latn", "sentence_deu_Latn"),
    ),
    "languages by their names": ({"German": ANSWERS, "English": QUESTIONS}, ("translation", "English", "German")),
}


@pytest.mark.parametrize("shape", COLUMNS)
def test_columns_are_recognized_as_prompts_and_responses(shape: str) -> None:
    columns, reading = COLUMNS[shape]
    sample = load_sample(datasets.Dataset.from_dict(columns))
    assert (sample.task.id, *sample.columns.values()) == reading
    assert len(sample) == N
    last = {conversation[-1] for conversation in sample.inputs}
    assert all(message.role == "user" and "question number" in message.text for message in last)
    assert set(ANSWERS) <= set(sample.label_texts)


def test_a_feature_of_translations_is_read_in_either_direction() -> None:
    pair = datasets.Features({"translation": datasets.Translation(["de", "en"])})
    dataset = datasets.Dataset.from_dict(translations("en", "de"), features=pair)
    sample = load_sample(dataset)
    assert sample.columns == {"source": "translation.en", "target": "translation.de"}
    sample = load_sample(dataset, columns={"source": "translation.de"})
    assert sample.columns == {"source": "translation.de", "target": "translation.en"}


def test_of_three_languages_two_are_read_and_the_third_is_said() -> None:
    rows = [{"translation": {"de": a, "en": q, "fr": f"or {a}"}} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    dataset = datasets.Dataset.from_list(rows)
    assert load_sample(dataset).unused_columns == ("translation.fr",)
    sample = load_sample(dataset, columns={"target": "translation.fr"})
    assert (sample.columns["source"], sample.unused_columns) == ("translation.en", ("translation.de",))


def test_a_conversation_is_read_up_to_its_last_answer() -> None:
    sample = load_sample(datasets.Dataset.from_dict({"messages": chats()}))
    start = Message("system", "Be brief."), Message("user", "hello"), Message("assistant", "hi")
    assert {conversation[:-1] for conversation in sample.inputs} == {start}


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "user and assistant do not take turns: user, user, assis"),
        ([("user", "a"), ("assistant", " ")], "a message of the assistant is empty"),
        ([("user", None), ("assistant", "b")], "a message of the user is empty"),
        ([("user", "a"), ("host", "b")], "a message has the role 'host' instead of user, assistant or system"),
        ([("user", "a")], "the conversation does not end with an answer of the assistant"),
        ([("system", "a"), ("assistant", "b")], "user and assistant do not take turns: assistant"),
        ([], "the prompt has no message of the user before the answer"),
    ],
)
def test_a_conversation_that_cannot_be_read_is_left_out_and_counted(chat: list[tuple[str, str]], reason: str) -> None:
    broken = [{"role": role, "content": text} for role, text in chat]
    sample = load_sample(datasets.Dataset.from_dict({"messages": [broken, *chats()]}))
    assert (len(sample), sample.skipped) == (N, 1)
    assert reasons(sample)[0].startswith(f"row 1: {reason}")


def test_lists_of_json_that_are_no_conversations_are_not_read_as_such(tmp_path: Path) -> None:
    tools = [{"name": "f"}, {"x": [1, "a"]}]
    lines = [{"tools": tools, "prompt": q, "response": a} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert load_sample(str(tmp_path / "a.jsonl")).columns == {"prompt": "prompt", "response": "response"}


def test_an_empty_response_is_left_out_and_many_are_an_error() -> None:
    rows = {"question": QUESTIONS, "answer": [" ", *ANSWERS[1:]]}
    assert load_sample(datasets.Dataset.from_dict(rows)).skipped == 1
    rows["answer"] = [" ", "", " ", "", *ANSWERS[4:]]
    assert "4 of 40 rows" in refused(datasets.Dataset.from_dict(rows)).message


@pytest.mark.parametrize(
    ("columns", "task", "said"),
    [
        ({"fr": ANSWERS, "en": QUESTIONS}, None, ("Translate from English to French:", "en fr")),
        (
            {"deu_Latn": ANSWERS, "pt-BR": QUESTIONS},
            "translation",
            ("Translate from Portuguese to German:", "pt-BR deu_Latn"),
        ),
        ({"English": QUESTIONS, "German": ANSWERS}, None, ("Translate from English to German:", "en de")),
        ({"source": QUESTIONS, "target": ANSWERS}, "translation", ("Translate:",)),
        ({"article": QUESTIONS, "highlights": ANSWERS}, None, ("Summarize:",)),
        ({"question": QUESTIONS, "answer": ANSWERS}, None, ()),
    ],
)
def test_what_a_task_asks_for_is_with_each_text_and_said(
    columns: dict[str, Any], task: str | None, said: tuple[str, ...]
) -> None:
    roles = {"source": "pt-BR", "target": "deu_Latn"} if "pt-BR" in columns else {}
    sample = load_sample(datasets.Dataset.from_dict(columns), task=task, columns=roles)
    assert all(tuple(message.text for message in conversation[:-1]) == said for conversation in sample.inputs)
    assert sample.reading is not None
    assert any(said and repr(said[0]) in fact for fact in sample.reading.facts) == bool(said)


@pytest.mark.parametrize(
    ("names", "responses"),
    [
        (("reasoning", "result"), ["because 0\nanswer number 0"]),
        (("reply_1", "reply_2"), ["answer number 0", "because 0"]),
    ],
)
def test_several_columns_are_parts_of_a_response_unless_they_are_numbered(
    names: tuple[str, str], responses: list[str]
) -> None:
    columns = dict(zip(names, ([f"because {i}" for i in range(N)], ANSWERS), strict=True))
    rows = datasets.Dataset.from_dict({"prompt": QUESTIONS, **columns})
    sample = load_sample(rows, task="text-generation", columns={"response": ",".join(names)})
    (row,) = (i for i, input in enumerate(sample.inputs) if input[0].text == QUESTIONS[0])
    assert sorted(sample.texts_of(int(sample.codes[row]))) == responses


def test_parts_of_a_response_are_texts_and_an_answer_in_a_context_has_none() -> None:
    rows = datasets.Dataset.from_dict({"prompt": QUESTIONS, "response": ANSWERS, "chat": chats()})
    error = refused(rows, task="text-generation", columns={"response": "response,chat"})
    assert "the response of text-generation is one column" in error.message
    rows = datasets.Dataset.from_dict({"question": QUESTIONS, "context": ANSWERS, "one": ANSWERS, "other": ANSWERS})
    error = refused(rows, task="question-answering", columns={"answer": "one,other"})
    assert "the answer of question-answering is one column" in error.message
