"""Saved models of the tasks open again, by us or by transformers, and get the scores that were reported."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers
from safetensors.torch import save_file

import hf_emms
from hf_emms import EmmsError
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import load_splits
from hf_emms.heads import LabeledSplit
from hf_emms.heads.metrics import WORD_ACCURACY, accuracy
from hf_emms.options import Options
from hf_emms.ranking import TrainingRun
from hf_emms.tasks import get_task
from tests.finetune.make import FAST, colours, picture, ranking, save, texts
from tests.helpers.tiny_checkpoints import CORPUS, build
from tests.helpers.tiny_families import IMAGE_FAMILIES, TEXT_FAMILIES
from tests.helpers.tiny_pairs import PAIR_MODELS, build_pair
from tests.helpers.tiny_writers import writer

ROWS = range(40)
IMAGE, STRING = datasets.Image(), datasets.Value("string")


def _pictures() -> list[dict[str, Any]]:
    return [picture((180, 20, 20) if row % 2 else (20, 20, 180), row) for row in ROWS]


def _typed(features: dict[str, Any], **columns: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns, datasets.Features(features))


def _classes() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts(40), "label": ["dog", "cat"] * 20})


def _several() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts(40), "label": [["animal", "cat"], ["animal"]] * 20})


def _values() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts(40), "label": [900.0 + 100 * (row % 3) for row in ROWS]})


def _pairs() -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"premise": texts(40), "hypothesis": texts(40)[::-1], "label": ["entailment", "neutral"] * 20}
    )


def _tags() -> datasets.Dataset:
    choose, words = random.Random(0), CORPUS.split()
    sentences = [[choose.choice(words) for _ in range(4 + row % 11)] for row in ROWS]
    features = {
        "tokens": datasets.List(STRING),
        "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-PLACE"])),
    }
    tags = [[int(word in ("road", "harbour")) for word in sentence] for sentence in sentences]
    return _typed(features, tokens=sentences, ner_tags=tags)


def _answers() -> datasets.Dataset:
    contexts = [f"a red {word} on a road {row}" for row, word in enumerate(["apple", "boats"] * 20)]
    answers = [{"text": [text.split()[2]], "answer_start": [6]} for text in contexts]
    return datasets.Dataset.from_dict(
        {"question": [f"what is red in {row}" for row in ROWS], "context": contexts, "answers": answers}
    )


def _some_answers() -> datasets.Dataset:
    answers = _answers()["answers"]
    none = {"text": [], "answer_start": []}
    return (
        _answers()
        .remove_columns("answers")
        .add_column("answers", [none if row % 4 == 3 else answers[row] for row in ROWS])
    )


def _about_pictures() -> datasets.Dataset:
    questions = [["a photo of an apple", "the small cat"][row // 2 % 2] for row in ROWS]
    features = {"image": IMAGE, "question": STRING, "answer": STRING}
    return _typed(features, image=_pictures(), question=questions, answer=["red", "green"] * 20)


def _boxes() -> datasets.Dataset:
    features = {"image": IMAGE, "expression": STRING, "box": datasets.Sequence(datasets.Value("float32"), length=4)}
    boxes = [[0, 0, 10, 10] if row // 2 % 2 else [10, 10, 9, 9] for row in ROWS]
    expressions = [["the small cat", "a red apple"][row // 2 % 2] for row in ROWS]
    return _typed(features, image=_pictures(), expression=expressions, box=boxes)


def _captions() -> datasets.Dataset:
    written = ["a red apple, on the mat" if row % 2 else "the small cat" for row in ROWS]
    return _typed({"image": IMAGE, "text": STRING}, image=_pictures(), text=written)


def kept(
    data: datasets.Dataset, task: str, checkpoint: Path, method: str, to: Path
) -> tuple[Path, TrainingRun, LabeledSplit]:
    """The folder of a fine-tuned model, its run, and the test rows."""
    columns = {"answer": "answers.text"} if "answers" in data.column_names else {}
    rows, folder = ranking(save(data, to / "data"), task, columns, {str(checkpoint): -0.1}), to / "best"
    settings: dict[str, Any] = {**FAST, "epochs": 2, "method": method}
    (run,) = hf_emms.confirm(rows, top=1, save_model=str(folder), **settings).rows[0].fine_tuned.runs
    return folder, run, load_splits(Options.of(rows.dataset, task=task, columns=columns)).test


@pytest.mark.parametrize(
    ("task", "data", "name", "method"),
    [
        ("text-classification", _classes, "clip-text", "lora"),
        ("image-classification", lambda: colours(40), "dinov3_vit", "full"),
        ("text-classification", _several, "clip-text", "head"),
        ("text-regression", _values, "clip-text", "full"),
        ("text-pair-classification", _pairs, "clip-text", "full"),
        ("token-classification", _tags, "bart", "full"),
        ("question-answering", _some_answers, "gemma", "full"),
        ("visual-question-answering", _about_pictures, "clip", "full"),
        ("referring-expression", _boxes, "dual-vit", "full"),
        ("image-to-text", _captions, "resnet", "full"),
        ("question-answering", _answers, "gemma", "lora"),
        ("visual-question-answering", _about_pictures, "clip", "head"),
        ("image-to-text", _captions, "vit", "lora"),
    ],
)
def test_a_head_of_ours_gets_its_score_again(
    task: str, data: Any, name: str, method: str, zoo: Path, tmp_path: Path, emms_cache: Path
) -> None:
    if name in PAIR_MODELS:
        checkpoint = build_pair(zoo, name)
    else:
        made = TEXT_FAMILIES.get(name) or IMAGE_FAMILIES.get(name)
        checkpoint = build(zoo, name, made, reads_text=name in TEXT_FAMILIES)
    folder, run, test = kept(data(), task, checkpoint, method, tmp_path)
    assert (folder / "head.safetensors").is_file()
    inputs = [test.inputs[number] for number in test.input_of_row]
    answers = hf_emms.load_finetuned(folder, device="cpu").predict(inputs)
    metrics = head_of(get_task(task)).metrics(test.references)
    scores = {metric.name: metric.compute(answers, test.references) for metric in metrics}
    assert scores == pytest.approx(run.scores, abs=1e-4)


@pytest.mark.parametrize(
    ("task", "references", "tensors", "said"),
    [
        ("text-classification", ["cat", "dog"], {"0.mean": torch.zeros(8)}, "is not of the head that head.json"),
        ("text-classification", ["cat", "dog"], {"weight": torch.zeros(8)}, "is not of the head that head.json"),
        ("text-generation", [], {"0.mean": torch.zeros(8)}, "was saved with a head that transformers opens"),
    ],
)
def test_a_model_whose_head_is_not_as_we_save_it_is_refused(
    task: str, references: list[str], tensors: dict[str, torch.Tensor], said: str, zoo: Path, tmp_path: Path
) -> None:
    checkpoint = writer(zoo, "gpt2")
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    shutil.copytree(checkpoint, folder / "checkpoint")
    (folder / "head.json").write_text(json.dumps({"task": task, "references": references}))
    save_file(tensors, folder / "head.safetensors")
    with pytest.raises(EmmsError, match=said):
        hf_emms.load_finetuned(folder)


def test_a_classifier_of_pairs_opens_with_transformers(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    folder, run, test = kept(_pairs(), "text-pair-classification", build(zoo, "bert"), "full", tmp_path)
    classify = transformers.pipeline("text-classification", model=str(folder))
    pairs = [test.inputs[number] for number in test.input_of_row]
    answers = [classify({"text": first, "text_pair": second})["label"] for first, second in pairs]
    assert accuracy(answers, test.references) == pytest.approx(run.scores["accuracy"])
    with pytest.raises(EmmsError, match=r"no head that hf_emms has saved") as raised:
        hf_emms.load_finetuned(folder)
    assert "transformers.pipeline" in raised.value.hint


def test_a_tagger_of_words_opens_with_transformers(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    folder, run, test = kept(_tags(), "token-classification", build(zoo, "bert"), "lora", tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
    answers = []
    for number, reference in zip(test.input_of_row, test.references, strict=True):
        encoded = tokenizer(test.inputs[number].split(), is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            tags = model(encoded["input_ids"]).logits[0].argmax(1).tolist()
        words = encoded.word_ids()
        answers.append([model.config.id2label[tags[words.index(word)]] for word in range(len(reference.tags))])
    assert WORD_ACCURACY.compute(answers, test.references) == pytest.approx(run.scores["accuracy"])
