"""Prompts: families that write, chat templates and plain text, prompts that are too long, templates that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import ARCHITECTURES
from hf_emms.inputs.prompt import Conversation, Message, PromptReader
from tests.helpers.extracting import load, rows
from tests.helpers.tiny_checkpoints import TEXTS, build
from tests.helpers.tiny_writers import CHAT_TEMPLATE, DECODERS, ENCODER_DECODERS, writer

PROMPTS: list[Conversation] = [(Message("user", text),) for text in TEXTS if text]
CHAT: Conversation = (
    Message("system", "a red apple"),
    Message("user", "the cat"),
    Message("assistant", "a dog"),
    Message("user", "the mat"),
)


def reader_of(extractor: Any) -> PromptReader:
    reader: PromptReader = extractor._reader._reader
    return reader


def test_every_family_that_writes_has_a_tiny_checkpoint() -> None:
    families = {name for row in ARCHITECTURES if row.input_kind == "prompt" for name in row.model_types}
    assert families == {*DECODERS, *ENCODER_DECODERS}


@pytest.mark.parametrize("name", [*DECODERS, *ENCODER_DECODERS])
def test_features_of_prompts_are_the_same_alone_and_together(zoo: Path, name: str) -> None:
    extractor = load(writer(zoo, name), "prompt")
    together = rows(extractor, PROMPTS)
    assert np.isfinite(together).all()
    scale = np.abs(together).max()
    assert (together / scale).std(0).max() > 1e-3
    np.testing.assert_allclose(rows(extractor, PROMPTS, 1) / scale, together / scale, atol=1e-5)
    expected = "last token" if name in DECODERS else "mean of"
    assert expected in extractor.info().pooling


def test_a_chat_model_reads_its_own_template_and_a_base_model_plain_text(zoo: Path) -> None:
    base, chat = (load(writer(zoo, "llama", template), "prompt") for template in (None, CHAT_TEMPLATE))
    assert any("plain text" in note for note in base.notes)
    assert any("its own chat template" in note for note in chat.notes)
    question = PROMPTS[1]
    assert (reader_of(base).write(question), reader_of(chat).write(question)) == ("cat\n", "[user] cat [assistant]")
    assert reader_of(base).write(CHAT) == "a red apple\nUser: the cat\nAssistant: a dog\nUser: the mat\nAssistant:"


def test_a_template_without_a_role_of_the_system_reads_its_text_with_the_first_question(zoo: Path) -> None:
    reader = reader_of(load(writer(zoo, "llama", CHAT_TEMPLATE), "prompt"))
    assert reader.write(CHAT) == "[user] a red apple\n\nthe cat [assistant] a dog [user] the mat [assistant]"


def test_a_template_that_fails_is_an_error_of_the_checkpoint(zoo: Path) -> None:
    folder = writer(zoo, "gpt2", "{{ raise_exception('never') }}")
    with pytest.raises(EmmsError, match="chat template fails: TemplateError: never"):
        load(folder, "prompt")


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_prompts_that_are_too_long_lose_their_beginning_and_are_counted(zoo: Path, name: str) -> None:
    extractor = load(writer(zoo, name), "prompt")
    end = " ".join(["the cat sits on a red mat"] * 10)
    first, second = rows(extractor, [(Message("user", f"{start} {end}"),) for start in ("boats", "an apple pie")])
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert any("2 texts were cut at 40 tokens" in note for note in extractor.notes)


def test_an_encoder_writes_nothing_and_is_refused(zoo: Path) -> None:
    with pytest.raises(EmmsError, match="reads texts, not prompts"):
        load(build(zoo, "bert"), "prompt")
