"""Conversations about images: how datasets are read, and what checkpoints of several families read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.heads.response import load_language_model, response_batch, response_losses, response_reader
from hf_emms.inputs import IMAGE_CHAT
from tests.helpers.samples import load_sample
from tests.helpers.tiny_checkpoints import repo_of
from tests.helpers.tiny_vision_chats import FAMILIES, vision_chat

TASK = "image-text-to-text"
WORDS = ["apple", "pie", "cat", "dog", "mat", "rain", "road", "boats"]


def picture(seed: int) -> Any:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8))


def png(seed: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


def messages(row: int, images: int) -> list[dict[str, Any]]:
    parts = [{"type": "image", "text": None}] * images
    return [
        {"role": "user", "content": [*parts, {"type": "text", "text": f"the small {WORDS[row % 8]} {row}"}]},
        {"role": "assistant", "content": [{"type": "text", "text": f"red {WORDS[row % 7]} {row % 5}"}]},
    ]


def chats(count: int = 30) -> datasets.Dataset:
    """Rows with one or two images."""
    counts = [1 + row % 2 for row in range(count)]
    data = {
        "images": [[png(2 * row + i) for i in range(n)] for row, n in enumerate(counts)],
        "messages": [messages(row, n) for row, n in enumerate(counts)],
    }
    return datasets.Dataset.from_dict(data).cast_column("images", datasets.List(datasets.Image()))


def spec_of(folder: Path) -> Any:
    return make_feature_spec(repo_of(folder), IMAGE_CHAT, TASK)


def direct_loss(folder: Path, images: list[Any], question: str, answer: str) -> float:
    """Return the loss of an answer by transformers alone, from the processor's own tokens."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    parts = [{"type": "image", "image": image} for image in images]
    conversation = [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
    settings: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
    prompt = processor.apply_chat_template(conversation, **settings)
    if model.config.model_type == "paligemma":
        inputs = processor(images=[images], text=[prompt], suffix=[answer], return_tensors="pt")
    else:
        inputs = processor(images=[images], text=[f"{prompt}{answer}</s>"], return_tensors="pt")
    inputs.pop("labels", None)
    count = len(processor.tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1
    with torch.no_grad():
        logits = model(**inputs).logits[0, -count - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, inputs["input_ids"][0, -count:], reduction="sum"))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_responses_equals_a_direct_forward_pass(zoo: Path, family: str, side: str) -> None:
    folder, spec = vision_chat(zoo, family, side), None
    spec = spec_of(folder)
    model = load_language_model(spec).eval()
    reader = response_reader(spec, model)
    sample = load_sample(chats(8))
    texts = [sample.texts_of(code)[0] for code in sample.codes.tolist()]
    inputs = [sample.inputs[number] for number in sample.input_of_row.tolist()]
    responses, skipped = reader.read_responses(inputs, texts)
    with torch.no_grad():
        losses = response_losses(model, response_batch(reader, responses), is_encoder=False)
    questions = [conversation[0].text.split("\n")[-1] for _, conversation in inputs]
    assert sorted(len(images) for images, _ in inputs) == [1] * 4 + [2] * 4
    expected = [
        direct_loss(folder, list(images), question, text)
        for (images, _), question, text in zip(inputs, questions, texts, strict=True)
    ]
    assert skipped == 0
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)
