"""Rows of each task for fine-tuning tiny checkpoints, and the models that result."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import datasets

import hf_emms
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.network import load_network
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.heads import LabeledSplit
from hf_emms.options import Options
from hf_emms.ranking import FineTuned
from hf_emms.tasks import get_task
from tests.finetune.make import FAST, PAIR_COLUMNS, colours, pairs, pictures, ranking, save, texts
from tests.helpers.sound import encoded, sound_checkpoint, tone
from tests.helpers.tiny_checkpoints import CAPTIONERS, CORPUS, build, checkpoint, processor, repo_of, tokenizer
from tests.helpers.tiny_families import IMAGE_FAMILIES, TEXT_FAMILIES
from tests.helpers.tiny_pairs import PAIR_MODELS, build_pair

STRING, IMAGE = datasets.Value("string"), datasets.Image()
FRUIT = ["apple", "boats", "cat", "children", "dog"]


@dataclass(frozen=True)
class Kind:
    """A task, its rows by their number, its metrics, and the columns of its rankings."""

    task: str
    rows: Callable[[int], datasets.Dataset]
    metrics: tuple[str, ...]
    columns: dict[str, str] = field(default_factory=dict)


def kept(
    kind: Kind, checkpoint: Path, to: Path, count: int = 40, **settings: Any
) -> tuple[Path, FineTuned, LabeledSplit]:
    """The folder of a fine-tuned checkpoint, its result, and the test rows."""
    made = ranking(save(kind.rows(count), to / "data"), kind.task, kind.columns, {str(checkpoint): -0.1})
    folder = to / "best"
    (row,) = hf_emms.confirm(made, top=1, save_model=str(folder), **{**FAST, "epochs": 2, **settings})
    result = row.fine_tuned
    assert result is not None
    assert result.error is None
    assert (result.metric, (*result.scores,)) == (kind.metrics[0], kind.metrics)
    return folder, result, load_splits(Options.of(made.dataset, task=kind.task, columns=kind.columns).sample).test


def loaded(checkpoint: Path, data: Any, task: str, **settings: Any) -> tuple[Any, Splits]:
    """A checkpoint with a head for the splits of rows, before training."""
    splits = load_splits(Options.of(data, task=task, **settings).sample)
    return load_network(make_feature_spec(repo_of(checkpoint), splits.task.input, task), splits), splits


def scores(kind: Kind, answers: Sequence[Any], test: LabeledSplit) -> dict[str, float]:
    metrics = head_of(get_task(kind.task)).metrics(test.references)
    return {metric.name: metric.compute(answers, test.references) for metric in metrics}


def checkpoint_of(zoo: Path, kind: str, name: str) -> Path:
    """The folder of a tiny checkpoint for a kind."""
    if kind == "tones":
        return sound_checkpoint(zoo, name)
    if name in PAIR_MODELS:
        return build_pair(zoo, name)
    return build(zoo, name, TEXT_FAMILIES.get(name) or IMAGE_FAMILIES.get(name), reads_text=name in TEXT_FAMILIES)


def captioner(zoo: Path, name: str) -> Path:
    """The folder of a tiny captioning checkpoint of transformers."""
    return checkpoint(zoo / f"captioner-{name}", CAPTIONERS[name], processor, partial(tokenizer, "bert"))


def _typed(features: dict[str, Any], **columns: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns, datasets.Features(features))


def _texts(labels: Sequence[Any], count: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts(count), "label": [labels[row % 2] for row in range(count)]})


def _pairs(count: int) -> datasets.Dataset:
    labels = [("entailment", "neutral")[row % 2] for row in range(count)]
    return datasets.Dataset.from_dict({"premise": texts(count), "hypothesis": texts(count)[::-1], "label": labels})


def _tags(longest: int, count: int) -> datasets.Dataset:
    """Words whose tags depend on the word alone."""
    choose, words = random.Random(0), CORPUS.split()
    sentences = [[choose.choice(words) for _ in range(4 + (longest - 4) * (row % 11) // 10)] for row in range(count)]
    names = datasets.ClassLabel(names=["O", "B-PLACE"])
    tags = [[int(word in ("road", "harbour", "mountain")) for word in sentence] for sentence in sentences]
    return _typed({"tokens": datasets.List(STRING), "ner_tags": datasets.List(names)}, tokens=sentences, ner_tags=tags)


def _answers(count: int, *, repeated: int = 1, unanswered: int = 0) -> datasets.Dataset:
    """Questions about a fruit. Contexts repeat words up to `repeated` times; some questions may have no answer."""
    words = "the road near the mat "
    contexts = [f"{words * (row % repeated)}a red {FRUIT[row % 5]} on a road {row}" for row in range(count)]
    answers = [{"text": [FRUIT[n % 5]], "answer_start": [text.index("red ") + 4]} for n, text in enumerate(contexts)]
    if unanswered:
        answers[::unanswered] = [{"text": [], "answer_start": []}] * len(answers[::unanswered])
    questions = [f"what is red in {row}" for row in range(count)]
    return datasets.Dataset.from_dict({"question": questions, "context": contexts, "answers": answers})


def _with_pictures(features: dict[str, Any], count: int, **columns: Sequence[Any]) -> datasets.Dataset:
    """Red and blue pictures, with columns that cycle through four values."""
    values = {name: [of_four[row % 4] for row in range(count)] for name, of_four in columns.items()}
    return _typed({"image": IMAGE, **features}, image=pictures(count), **values)


def _about_pictures(count: int) -> datasets.Dataset:
    questions, answers = ["a photo of an apple", "the small cat"], ["red", "green"]
    columns = {"question": [questions[0], questions[0], questions[1], questions[1]], "answer": answers * 2}
    return _with_pictures({"question": STRING, "answer": STRING}, count, **columns)


def _boxes(count: int) -> datasets.Dataset:
    box = datasets.Sequence(datasets.Value("float32"), length=4)
    near, far = ("a red apple", [10, 10, 9, 9]), ("the small cat", [0, 0, 10, 10])
    expressions, boxes = zip(near, near, far, far, strict=True)
    return _with_pictures({"expression": STRING, "box": box}, count, expression=expressions, box=boxes)


def _captions(texts: Sequence[Any], count: int) -> datasets.Dataset:
    feature = STRING if isinstance(texts[0], str) else datasets.List(STRING)
    return _with_pictures({"text": feature}, count, text=[*texts, *texts])


def _tones(count: int) -> datasets.Dataset:
    """High and low tones of ten speakers, some too short for the masks of SpecAugment."""
    sounds = [encoded(tone([200, 2000][row % 2], 0.06 + 0.4 * (row % 3), seed=row)) for row in range(count)]
    rows = {
        "audio": [{"bytes": sound, "path": None} for sound in sounds],
        "label": [["low", "high"][row % 2] for row in range(count)],
        "speaker": [f"speaker {row // 2 % 10}" for row in range(count)],
    }
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())


_CLASSES, _SPANS, _CAPTIONS = ("accuracy", "macro F1"), ("F1", "exact match"), ("BLEU",)
_SPAN = {"answer": "answers.text"}
KINDS = {
    "classes": Kind("text-classification", partial(_texts, ["dog", "cat"]), _CLASSES),
    "several": Kind(
        "text-classification", partial(_texts, [["animal"], ["animal", "cat"]]), ("micro F1", "macro F1", "accuracy")
    ),
    "values": Kind("text-regression", partial(_texts, [1000.0, 1500.0]), ("R²", "Spearman")),
    "pairs": Kind("text-pair-classification", _pairs, _CLASSES),
    "similarity": Kind("sentence-similarity", pairs, ("Spearman",), PAIR_COLUMNS),
    "colours": Kind("image-classification", colours, _CLASSES),
    "tones": Kind("audio-classification", _tones, _CLASSES, {"audio": "audio", "label": "label"}),
    "tags": Kind("token-classification", partial(_tags, 14), ("entity F1", "accuracy")),
    "tags of long texts": Kind("token-classification", partial(_tags, 54), ("entity F1", "accuracy")),
    "answers": Kind("question-answering", _answers, _SPANS, _SPAN),
    "some answers": Kind("question-answering", partial(_answers, unanswered=4), _SPANS, _SPAN),
    "answers in long texts": Kind("question-answering", partial(_answers, repeated=12), _SPANS, _SPAN),
    "about pictures": Kind("visual-question-answering", _about_pictures, ("VQA accuracy",)),
    "boxes": Kind("referring-expression", _boxes, ("IoU", "accuracy at 0.5")),
    "captions": Kind("image-to-text", partial(_captions, ["the small cat", "a red apple, on the mat"]), _CAPTIONS),
    "several captions": Kind(
        "image-to-text", partial(_captions, [["a small cat"], ["a red apple", "the apple on a mat"]]), _CAPTIONS
    ),
}
