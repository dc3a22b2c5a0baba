"""Saved models open with transformers and reproduce the reported scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import hf_emms
from hf_emms.inputs.audio import decode
from tests.finetune.task_rows import KINDS, captioner, kept, scores
from tests.helpers.errors import raises_code
from tests.helpers.sound import RATE, sound_checkpoint
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_pairs import build_pair
from tests.hub import Hub


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "xlnet"])
def test_single_texts_and_batches_get_equal_classes(zoo: Path, tmp_path: Path, name: str) -> None:
    """Includes models that classify by a text's last token, which must not be padding."""
    kind, method = KINDS["classes"], "head" if name == "bert" else "full"
    folder, result, test = kept(kind, build(zoo, name), tmp_path, method=method)
    assert result.recipe["method"] == method
    classify = transformers.pipeline("text-classification", model=str(folder))
    answers = [classify(test.inputs[i], truncation=True)[0]["label"] for i in test.input_of_row]
    assert scores(kind, answers, test) == pytest.approx(result.scores)


def test_predicted_values_are_in_the_original_scale(zoo: Path, tmp_path: Path) -> None:
    kind = KINDS["values"]
    folder, result, test = kept(kind, build(zoo, "distilbert"), tmp_path / "a")
    read = transformers.pipeline("text-classification", model=str(folder))
    answers = [read(test.inputs[i])[0]["score"] for i in test.input_of_row]
    assert 900 < np.mean(answers) < 1600
    assert "pipeline_tag: text-classification" in (folder / "README.md").read_text()
    assert scores(kind, answers, test) == pytest.approx(result.scores, abs=1e-3)


@pytest.mark.parametrize("name", ["bert", "gpt2", "mpnet"])
def test_classifiers_of_pairs_read_both_texts(name: str, zoo: Path, tmp_path: Path) -> None:
    kind = KINDS["pairs"]
    folder, result, test = kept(kind, build(zoo, name), tmp_path)
    assert "pipeline_tag: text-classification" in (folder / "README.md").read_text()
    classify = transformers.pipeline("text-classification", model=str(folder))
    pairs = [test.inputs[i] for i in test.input_of_row]
    answers = [classify({"text": first, "text_pair": second}, truncation=True)["label"] for first, second in pairs]
    assert scores(kind, answers, test) == pytest.approx(result.scores)
    with raises_code("no-head"):
        hf_emms.load_finetuned(folder)


@pytest.mark.parametrize(("name", "rate"), [("unispeech", "3e-4"), ("hubert", "3e-3"), ("whisper", "1e-2")])
def test_classifiers_hear_tones_as_the_pipeline_does(name: str, rate: str, zoo: Path, tmp_path: Path) -> None:
    kind = KINDS["tones"]
    folder, result, test = kept(kind, sound_checkpoint(zoo, name), tmp_path, epochs=1, learning_rates=rate)
    assert "pipeline_tag: audio-classification" in (folder / "README.md").read_text()
    classify = transformers.pipeline("audio-classification", str(folder), device="cpu")
    sounds = [{"raw": decode(test.inputs[i], RATE), "sampling_rate": RATE} for i in test.input_of_row]
    answers = [classify(sound)[0]["label"] for sound in sounds]
    assert scores(kind, answers, test) == pytest.approx(result.scores)


def test_pipelines_open_each_kind_of_saved_model_by_its_card(
    hub: Hub, client: Callable[..., Any], zoo: Path, tmp_path: Path
) -> None:
    """The Hub files a model under the task of its card, and `pipeline` opens it for this task."""
    saved = {
        "classes": (build(zoo, "bert"), "text-classification"),
        "values": (build(zoo, "distilbert"), "text-classification"),
        "pairs": (build(zoo, "mpnet"), "text-classification"),
        "colours": (build(zoo, "vit"), "image-classification"),
        "tones": (sound_checkpoint(zoo, "hubert"), "audio-classification"),
        "captions": (captioner(zoo, "blip"), "image-text-to-text"),
        "tags": (build(zoo, "bert"), "token-classification"),
    }
    for kind, (checkpoint, _) in saved.items():
        folder, _, _ = kept(KINDS[kind], checkpoint, tmp_path / kind, epochs=1)
        hub.store.put_files(f"org/{kind}", {path.name: path.read_bytes() for path in folder.iterdir()})
    code = f"""
    import json
    from transformers import pipeline
    print(json.dumps([pipeline(model="org/" + kind).task for kind in {list(saved)}]))
    """
    assert client(code) == [task for _, task in saved.values()]


def test_captions_are_written_by_the_pipeline(zoo: Path, tmp_path: Path) -> None:
    kind = KINDS["captions"]
    folder, result, test = kept(kind, captioner(zoo, "blip"), tmp_path)
    write = transformers.pipeline("image-text-to-text", model=str(folder))
    written = [write(test.inputs[i], text="", max_new_tokens=40)[0]["generated_text"] for i in test.input_of_row]
    assert scores(kind, written, test) == pytest.approx(result.scores, abs=1e-6)


def test_a_tagger_of_words_opens_with_transformers(zoo: Path, tmp_path: Path) -> None:
    kind = KINDS["tags"]
    folder, result, test = kept(kind, build(zoo, "bert"), tmp_path, method="lora")
    assert "pipeline_tag: token-classification" in (folder / "README.md").read_text()
    read, model = transformers.AutoTokenizer.from_pretrained(folder), complete("TokenClassification", folder)
    answers = []
    for number, reference in zip(test.input_of_row, test.references, strict=True):
        encoded = read(test.inputs[number].split(), is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            tags = model(encoded["input_ids"]).logits[0].argmax(1).tolist()
        words = encoded.word_ids()
        answers.append([model.config.id2label[tags[words.index(word)]] for word in range(len(reference.tags))])
    assert scores(kind, answers, test) == pytest.approx(result.scores)


def test_answers_in_contexts_open_with_the_class_of_the_task(zoo: Path, tmp_path: Path) -> None:
    kind = KINDS["answers"]
    folder, result, test = kept(kind, build(zoo, "distilbert"), tmp_path)
    read, model = transformers.AutoTokenizer.from_pretrained(folder), complete("QuestionAnswering", folder)
    spans = []
    for question, context in (test.inputs[i] for i in test.input_of_row):
        encoded = read(question, context, return_tensors="pt", return_offsets_mapping=True)
        characters = encoded.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            output = model(**encoded)
        inside = [token for token, part in enumerate(encoded.sequence_ids()) if part == 1]
        start, end = (logits[0, inside].double() for logits in (output.start_logits, output.end_logits))
        best = int((start[:, None] + end).masked_fill(torch.ones(len(inside), len(inside)).tril(-1) > 0, -1e9).argmax())
        first, last = divmod(best, len(inside))
        spans.append(context[characters[inside[first]][0] : characters[inside[last]][1]])
    assert scores(kind, spans, test) == pytest.approx(result.scores, abs=1e-6)


def test_answers_about_pictures_open_with_the_class_of_the_task(zoo: Path, tmp_path: Path) -> None:
    kind = KINDS["about pictures"]
    folder, result, test = kept(kind, build_pair(zoo, "vilt"), tmp_path)
    model = complete("VisualQuestionAnswering", folder)
    assert {*model.config.id2label.values()} == {"red", "green"}
    see = transformers.AutoImageProcessor.from_pretrained(folder)
    read, answers = transformers.AutoTokenizer.from_pretrained(folder), []
    for image, question in (test.inputs[i] for i in test.input_of_row):
        with torch.no_grad():
            logits = model(**read(question, return_tensors="pt"), **see(image, return_tensors="pt")).logits
        answers.append(model.config.id2label[int(logits.argmax())])
    assert scores(kind, answers, test) == pytest.approx(result.scores, abs=1e-6)


def complete(task: str, folder: Path) -> Any:
    """The model of a folder; fails if weights are missing."""
    loader = getattr(transformers, f"AutoModelFor{task}")
    model, report = loader.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    return model.eval()
