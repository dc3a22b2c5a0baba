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

import hf_emms
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.response_scorer import ResponseScorer
from hf_emms.finetune.splits import load_splits
from hf_emms.heads.response import load_language_model, response_batch, response_losses, response_reader
from hf_emms.inputs import IMAGE_CHAT
from hf_emms.options import Options, RunOptions
from tests.helpers.errors import raises_code
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
    folder = vision_chat(zoo, family, side)
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


def test_a_row_longer_than_the_context_is_skipped_and_counted(zoo: Path) -> None:
    data = chats(12)
    long = [*messages(0, 1)]
    long[0] = {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "cat " * 300}]}
    rows = [*data["messages"][:-2], long, data["messages"][-1]]
    data = data.remove_columns("messages").add_column("messages", rows)
    scorer = ResponseScorer(spec_of(vision_chat(zoo, "llava")), load_sample(data), RunOptions(device="cpu"), 0)
    bits = scorer.bits(np.arange(12))
    assert (bits == 0).all(axis=1).sum() == 1
    assert scorer.truncated_responses == pytest.approx(1 / 12)


def test_conversations_of_llava_and_lists_of_questions_are_read() -> None:
    pictures = [png(row) for row in range(6)]
    talks = [
        [{"from": "human", "value": f"<image>\nthe cat {row}"}, {"from": "gpt", "value": f"red {row}"}]
        for row in range(6)
    ]
    image = datasets.Image()
    data = datasets.Dataset.from_dict({"image": pictures, "conversations": talks}).cast_column("image", image)
    sample = load_sample(data)
    assert (sample.task.id, len(sample.codes)) == (TASK, 6)
    images, conversation = sample.inputs[0]
    assert (len(images), conversation[0].text[:7]) == (1, "<image>")
    several = {"image": pictures, "question": [["what?", f"who {row}?"] for row in range(6)]}
    several["answer"] = [[f"red {row}", f"cat {row}"] for row in range(6)]
    data = datasets.Dataset.from_dict(several).cast_column("image", image)
    assert load_sample(data).task.id == "visual-question-answering"
    assert len(load_sample(data, task=TASK).codes) == 12


@pytest.mark.parametrize("broken", ["image", "turns", "places"])
def test_unusable_rows_are_one_error_that_names_the_row(broken: str) -> None:
    data = chats(8).to_dict()
    for row in range(2, 6):
        if broken == "image":
            data["images"][row][0] = {"bytes": b"no image", "path": None}
        elif broken == "turns":
            data["messages"][row].insert(1, data["messages"][row][0])
        else:
            data["images"][row] *= 2
    rows = datasets.Dataset.from_dict(data).cast_column("images", datasets.List(datasets.Image()))
    with raises_code("rows-unusable", "First: row "):
        load_sample(rows)


def test_a_processor_without_a_chat_template_is_refused(zoo: Path) -> None:
    spec = spec_of(vision_chat(zoo, "llava", has_template=False))
    with raises_code("no-chat-template"):
        response_reader(spec, load_language_model(spec))


@pytest.mark.parametrize(("family", "method"), [("llava", "full"), ("qwen2_5_vl", "lora")])
def test_a_saved_model_reproduces_its_score(zoo: Path, tmp_path: Path, family: str, method: str) -> None:
    settings: dict[str, Any] = {"method": method, "save_model": str(tmp_path / "model"), "estimators": "zero_shot"}
    settings |= {"confirm": 1, "epochs": 1, "learning_rates": ["1e-2"], "device": "cpu", "progress": False}
    data = chats(60)
    ranking = hf_emms.rank(data, [str(vision_chat(zoo, family))], **settings)
    result = ranking.rows[0].fine_tuned
    assert result is not None, ranking.notes
    assert result.error is None
    (run,) = result.runs
    assert result.value == pytest.approx(2**-run.loss)
    sample = load_splits(Options.of(data).sample).test
    spec = spec_of(tmp_path / "model")
    model = load_language_model(spec).eval()
    reader = response_reader(spec, model)
    texts = [several[0][0] for several in sample.references]
    inputs = [sample.inputs[number] for number in sample.input_of_row.tolist()]
    responses, _ = reader.read_responses(inputs, texts)
    with torch.no_grad():
        nats = response_losses(model, response_batch(reader, responses), is_encoder=False).sum().item()
    assert nats / np.log(2) / sum(map(len, texts)) == pytest.approx(run.loss, rel=1e-3)
