"""A kept model opens as users open theirs, and gives what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers

import hf_emms
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import load_splits
from hf_emms.heads import LabeledSplit
from hf_emms.heads.metrics import accuracy, r2
from hf_emms.options import Options
from hf_emms.ranking import TrainingRun
from hf_emms.tasks import get_task
from tests.finetune.make import FAST, picture, ranking, save, texts
from tests.helpers.tiny_checkpoints import build, tokenizer
from tests.helpers.tiny_pairs import build_pair

SETTINGS = {**FAST, "epochs": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


def kept(data: datasets.Dataset, task: str, checkpoint: Path, to: Path) -> tuple[str, TrainingRun, LabeledSplit]:
    """The folder of a fine-tuned model, its run, and the test rows."""
    columns = {"answer": "answers.text"} if "answers" in data.column_names else {}
    rows, folder = ranking(save(data, to / "data"), task, columns, {str(checkpoint): -0.1}), str(to / "best")
    found = hf_emms.confirm(rows, top=1, save_model=folder, **SETTINGS).rows[0].fine_tuned
    return folder, found.runs[0], load_splits(Options.of(rows.dataset, task=task, columns=columns)).test


def of_texts(labels: list[Any]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts(60), "label": labels})


def pictures() -> list[dict[str, Any]]:
    return [picture((180, 20, 20) if row % 2 else (20, 20, 180), row) for row in range(60)]


@pytest.mark.parametrize("name", ["albert", "bert", "distilbert", "gpt2", "opt", "xlnet"])
def test_texts_alone_have_the_classes_that_batches_of_them_had(
    root: Path, tmp_path: Path, name: str, emms_cache: Path
) -> None:
    """Also of models that look at a text's last token: padding is none."""
    folder, run, test = kept(of_texts(["dog", "cat"] * 30), "text-classification", build(root, name), tmp_path)
    classify = transformers.pipeline("text-classification", model=folder)
    answers = [classify(test.inputs[i], truncation=True)[0]["label"] for i in test.input_of_row]
    assert accuracy(answers, test.references) == pytest.approx(run.scores["accuracy"])


def test_values_are_as_they_were_measured(root: Path, tmp_path: Path, emms_cache: Path) -> None:
    values = [1000.0 + 500 * (row % 2) for row in range(60)]
    folder, run, test = kept(of_texts(values), "text-regression", build(root, "distilbert"), tmp_path / "a")
    read = transformers.pipeline("text-classification", model=folder)
    answers = [read(test.inputs[i])[0]["score"] for i in test.input_of_row]
    assert 900 < np.mean(answers) < 1600
    assert "pipeline_tag: text-classification" in (Path(folder) / "README.md").read_text()
    assert r2(answers, test.references) == pytest.approx(run.scores["R²"], abs=1e-3)
    _, run, _ = kept(of_texts(values), "text-regression", build(root, "gpt2"), tmp_path / "b")
    assert any(note.startswith("its last layer has no bias: what it gives is (value - 12") for note in run.notes)


def scores(task: str, answers: list[str], test: LabeledSplit) -> dict[str, float]:
    metrics = head_of(get_task(task)).metrics(test.references)
    return {metric.name: metric.compute(answers, test.references) for metric in metrics}


def test_captions_are_written_by_the_pipeline(root: Path, tmp_path: Path, emms_cache: Path) -> None:
    checkpoint = build(root / "captioners", "blip")
    tokenizer("bert").save_pretrained(checkpoint)
    features = {"image": datasets.Image(), "text": datasets.Value("string")}
    data = {"image": pictures(), "text": ["a red apple" if row % 2 else "a small cat" for row in range(60)]}
    rows = datasets.Dataset.from_dict(data, datasets.Features(features))
    folder, run, test = kept(rows, "image-to-text", checkpoint, tmp_path)
    write = transformers.pipeline("image-text-to-text", model=folder)
    written = [write(test.inputs[i], text="", max_new_tokens=40)[0]["generated_text"] for i in test.input_of_row]
    assert any(run.scores.values())
    assert scores("image-to-text", written, test) == pytest.approx(run.scores, abs=1e-6)


def test_answers_in_contexts_open_with_the_class_of_the_task(root: Path, tmp_path: Path, emms_cache: Path) -> None:
    contexts = [f"a red {word} on a road {row}" for row, word in enumerate(["apple", "boats", "cat"] * 20)]
    answers = [{"text": [text.split()[2]], "answer_start": [6]} for text in contexts]
    data = {"question": [f"what is red in {row}" for row in range(60)], "context": contexts, "answers": answers}
    rows = datasets.Dataset.from_dict(data)
    folder, run, test = kept(rows, "question-answering", build(root, "distilbert"), tmp_path)
    model = complete(transformers.AutoModelForQuestionAnswering, folder)
    read = transformers.AutoTokenizer.from_pretrained(folder)
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
    assert any(run.scores.values())
    assert scores("question-answering", spans, test) == pytest.approx(run.scores, abs=1e-6)


def test_answers_about_pictures_open_with_the_class_of_the_task(root: Path, tmp_path: Path, emms_cache: Path) -> None:
    features = {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    questions = [["a photo of an apple", "the small cat"][row // 2 % 2] for row in range(60)]
    data = {"image": pictures(), "question": questions, "answer": ["red", "green"] * 30}
    rows = datasets.Dataset.from_dict(data, datasets.Features(features))
    folder, run, test = kept(rows, "visual-question-answering", build_pair(root, "vilt"), tmp_path)
    model = complete(transformers.AutoModelForVisualQuestionAnswering, folder)
    assert {*model.config.id2label.values()} == {"red", "green"}
    see, read = (
        transformers.AutoImageProcessor.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    answers = []
    for image, question in (test.inputs[i] for i in test.input_of_row):
        with torch.no_grad():
            logits = model(**read(question, return_tensors="pt"), **see(image, return_tensors="pt")).logits
        answers.append(model.config.id2label[int(logits.argmax())])
    assert any(run.scores.values())
    assert scores("visual-question-answering", answers, test) == pytest.approx(run.scores, abs=1e-6)


def complete(loader: Any, folder: str) -> Any:
    """The model of a folder, none of whose weights are missing."""
    model, report = loader.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    return model
