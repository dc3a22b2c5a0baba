"""Prompts: chat templates and plain text, prompts that are too long, templates that fail, languages."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.heads.response import load_language_model
from hf_emms.inputs import PROMPT
from hf_emms.inputs.prompt import Conversation, Message, PromptReader, prompt_reader
from hf_emms.inputs.text import load_tokenizer
from tests.helpers.errors import raises_code
from tests.helpers.extracting import load, rows
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import repo_of
from tests.helpers.tiny_writers import CHAT_TEMPLATE, writer

QUESTION: Conversation = (Message("user", "cat"),)
CHAT: Conversation = (
    Message("system", "a red apple"),
    Message("user", "the cat"),
    Message("assistant", "a dog"),
    Message("user", "the mat"),
)


def reader_of(extractor: Any) -> PromptReader:
    reader: PromptReader = extractor._reader._reader
    return reader


def reader_with(zoo: Path, template: str) -> PromptReader:
    """The reader of a tiny checkpoint with this template."""
    plan = make_feature_spec(repo_of(writer(zoo, "gpt2")), PROMPT, "text-generation")
    tokenizer = load_tokenizer(plan)
    tokenizer.chat_template = template
    return prompt_reader(plan, load_language_model(plan), tokenizer)


def test_a_chat_model_reads_its_own_template_and_a_base_model_plain_text(zoo: Path) -> None:
    base, chat = (load(writer(zoo, "llama", template), "prompt") for template in (None, CHAT_TEMPLATE))
    assert (codes(base.notes)[0], codes(chat.notes)) == ("plain-prompts", ["chat-template"])
    assert (reader_of(base).write(QUESTION), reader_of(chat).write(QUESTION)) == ("cat\n", "[user] cat [assistant]")
    assert reader_of(base).write(CHAT) == "a red apple\nUser: the cat\nAssistant: a dog\nUser: the mat\nAssistant:"
    # The template has no role of the system: its text is read with the first question.
    expected = "[user] a red apple\n\nthe cat [assistant] a dog [user] the mat [assistant]"
    assert reader_of(chat).write(CHAT) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('never') }}", "TemplateError: never"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
    ],
)
def test_a_template_that_fails_is_an_error(zoo: Path, template: str, reason: str) -> None:
    with raises_code("chat-template-failed", reason):
        reader_with(zoo, template).write(QUESTION)


def test_a_template_that_writes_the_date_gives_the_same_prompt_every_day(zoo: Path) -> None:
    template = "{{ strftime_now('%d %b %Y') }}, {{ date_string }}: {{ messages[0].content }}"
    assert reader_with(zoo, template).write(QUESTION) == "01 Jan 2026, 01 Jan 2026: cat"


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_prompts_that_are_too_long_lose_their_beginning_and_are_counted(zoo: Path, name: str) -> None:
    extractor = load(writer(zoo, name), "prompt")
    end = " ".join(["the cat sits on a red mat"] * 10)
    first, second = rows(extractor, [(Message("user", f"{start} {end}"),) for start in ("boats", "an apple pie")])
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert (extractor.info().counts.truncated, extractor.info().counts.text_length) == (2, 40)
    reader = reader_of(extractor)
    limits = [replace(reader, max_length=length).max_response([0] * 30) for length in (1, 40, 200)]
    assert limits == {"gpt2": [1, 30, 170], "bart": [1, 40, 200]}[name]
    assert reader.starts() == {}
    (tokens,), _ = reader.tokenize([QUESTION])
    full, longer = ((Message("user", "cat " * (41 - len(tokens) + more)),) for more in (0, 1))
    assert [reader.tokenize([prompt])[1] for prompt in (full, longer)] == [0, 1]
    (whole, shortened), n_truncated = reader.read_responses([QUESTION, full], ["cat", "cat " * 60])
    assert (n_truncated, whole.n_bytes) == (1, 3)
    assert shortened.n_bytes == pytest.approx(240 * len(shortened.response) / (59 + len(whole.response)))
    assert (len(shortened.prompt), len(shortened.response)) == {"gpt2": (10, 30), "bart": (40, 40)}[name]


@pytest.mark.parametrize(
    ("end", "kept", "added"),
    [
        ("</s>", 2, [1, 0, 0, 1]),
        *((end, end, [1, 1, 1, 1]) for end in (0, 399)),
        *((end, None, [0, 0, 0, 0]) for end in (None, [3], -1, 400)),
    ],
)
def test_a_response_ends_with_the_token_that_the_tokenizer_or_the_model_names(
    zoo: Path, end: Any, kept: int | None, added: list[int]
) -> None:
    plan = make_feature_spec(repo_of(writer(zoo, "gpt2")), PROMPT, "text-generation")
    model, tokenizer = load_language_model(plan), load_tokenizer(plan)
    if end != "</s>":
        tokenizer.eos_token, model.config.eos_token_id = None, end
    reader = prompt_reader(plan, model, tokenizer)
    assert reader.end_id == kept
    texts = ["cat", "cat </s>", "cat </s> dog", "cat </s> red dog"]
    responses, shortened = reader.read_responses([QUESTION] * 4, texts)
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    expected = [[*ids, *[kept] * more] for ids, more in zip(tokens, added, strict=True)]
    assert [response.response for response in responses] == expected
    assert ([response.n_bytes for response in responses], shortened) == ([*map(len, texts)], 0)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        *((kind, "unsupported-family") for kind in ("splinter", "megatron-bert", "prophetnet")),
        *((kind, "no-tokenizer") for kind in ("biogpt", "marian")),  # that is looked for afterwards
    ],
)
def test_what_writes_nothing_and_unknown_encoders_are_refused(kind: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with raises_code(code):
        PROMPT.load_processors(make_feature_spec(repo_of(tmp_path), PROMPT, "text-generation"), torch.device("cpu"))


def test_decoders_and_t5_are_told_what_to_do_and_other_encoders_are_not(zoo: Path) -> None:
    prompt = (Message("instruction", "Summarize:"), *QUESTION)
    assert {
        name: reader_of(load(writer(zoo, name, template), "prompt")).write(prompt)
        for name, template in (("llama", CHAT_TEMPLATE), ("gpt2", None), ("t5", None), ("bart", None))
    } == {
        "llama": "[user] cat\nSummarize: [assistant]",
        "gpt2": "cat\nSummarize:\n",
        "t5": "Summarize: cat",
        "bart": "cat",
    }


def tokenizer_of_many_languages(kind: str, folder: Path) -> Any:
    if kind != "M2M100Tokenizer":
        return getattr(transformers, kind)()
    sentencepiece = pytest.importorskip("sentencepiece", reason="it reads M2M-100's vocabulary")
    trained, vocabulary, model = io.BytesIO(), folder / "vocab.json", folder / "sentencepiece.bpe.model"
    texts = ["the cat sat on the mat", "a dog ran on the road"] * 20
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=trained, vocab_size=18)
    model.write_bytes(trained.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    names = ["<s>", "<pad>", "</s>", "<unk>", *(pieces.id_to_piece(i) for i in range(3, 18))]
    vocabulary.write_text(json.dumps({name: i for i, name in enumerate(names)}))
    return transformers.M2M100Tokenizer(str(vocabulary), str(model))


LANGUAGE_TOKENS = {
    "NllbTokenizer": ["eng_Latn", "deu_Latn"],
    "MBartTokenizer": ["en_XX", "de_DE"],
    "M2M100Tokenizer": ["__en__", "__de__"],
}


@pytest.mark.parametrize("kind", LANGUAGE_TOKENS)
def test_a_tokenizer_of_many_languages_is_set_to_those_of_the_columns(zoo: Path, tmp_path: Path, kind: str) -> None:
    folder = writer(zoo, "m2m_100")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = tokenizer_of_many_languages(kind, tmp_path)
    reader = prompt_reader(make_feature_spec(repo_of(folder), PROMPT, "translation"), model, tokenizer)
    english, german = tokenizer.convert_tokens_to_ids(LANGUAGE_TOKENS[kind])
    prompt = (Message("instruction", "Translate:"), Message("languages", "en de"), Message("user", "a"))
    (response,), _ = reader.read_responses([prompt], ["b"])
    end = tokenizer.eos_token_id
    if kind != "MBartTokenizer":
        assert (response.prompt[0], response.response[0], response.response[-1]) == (english, german, end)
        assert reader.starts() == {"forced_bos_token_id": german}
    else:
        assert (response.prompt[-1], response.response[-2:]) == (english, [end, german])
        assert reader.starts() == {"decoder_start_token_id": german}
    tokenizer.save_pretrained(tmp_path)
    saved = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (saved.src_lang, saved.tgt_lang) == (tokenizer.src_lang, tokenizer.tgt_lang)
    # A language that it lacks changes nothing.
    reader.tokenize([(Message("languages", "en xx"), Message("user", "a"))])
    assert tokenizer.tgt_lang == saved.tgt_lang
