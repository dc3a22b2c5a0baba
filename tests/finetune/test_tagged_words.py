"""Fine-tuning for tags of words, and the F1 of entities."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest

import hf_emms
from hf_emms.heads.metrics import entities, entity_f1
from hf_emms.heads.words import TaggedText
from hf_emms.tasks.token_classification import word_metrics
from tests.finetune.make import FAST, ranking, save
from tests.helpers.tiny_checkpoints import CORPUS, build

NAMES = ["O", "B-PLACE", "I-PLACE"]


def texts(*tags: Sequence[str]) -> list[TaggedText]:
    return [TaggedText(tuple((2 * n, 2 * n + 1) for n in range(len(of_text))), tuple(of_text)) for of_text in tags]


@pytest.mark.parametrize(
    ("right", "predicted", "f1"),
    [
        # What seqeval 1.2.2 gives.
        (
            ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"],
            ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"],
            0.5,
        ),
        (["B-PER I-PER O B-LOC"], ["B-PER O O B-LOC"], 0.5),
        (["I-PER I-PER O I-LOC I-LOC"], ["B-PER I-PER O I-LOC B-LOC"], 0.4),
        (["B-PER B-PER I-LOC"], ["B-PER B-PER I-LOC"], 1.0),
        (["B-PER I-PER E-PER S-LOC O"], ["B-PER E-PER S-PER S-LOC O"], 0.4),
        (["O O"], ["O O"], 0.0),
    ],
)
def test_f1_of_entities(right: list[str], predicted: list[str], f1: float) -> None:
    references = texts(*(tags.split() for tags in right))
    assert entity_f1([tags.split() for tags in predicted], references) == pytest.approx(f1)


def test_entities_of_all_ways_of_marking_them() -> None:
    whole = {(0, 2, "PER"), (3, 4, "LOC")}
    for tags in ("B-PER I-PER O B-LOC", "I-PER I-PER O I-LOC", "B-PER E-PER O S-LOC", "B-PER L-PER O U-LOC"):
        assert entities(tags.split()) == whole
    assert entities(["B", "I", "O"]) == {(0, 2, "")}


def test_types_alone_are_scored_as_entities_where_most_words_have_none() -> None:
    references = texts(["PER", "PER", "O", "O", "O", "LOC", "O"])
    metric, accuracy = word_metrics(references)
    assert (metric.name, accuracy.name) == ("entity F1", "accuracy")
    assert metric.compute([["PER", "O", "O", "O", "O", "LOC", "O"]], references) == pytest.approx(0.5)
    assert metric.compute([list(references[0].tags)], references) == 1
    assert [metric.name for metric in word_metrics(texts(["N", "O", "V", "N", "V"]))] == ["accuracy"]


@pytest.mark.parametrize("name", ["bert", "bart"])
def test_every_word_gets_a_tag(name: str, zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    words = CORPUS.split()
    chosen = random.Random(0)
    # Some sentences are longer than these checkpoints read.
    sentences = [[chosen.choice(words) for _ in range(4 + 5 * (row % 11))] for row in range(60)]
    tags = [[1 if word in ("road", "harbour", "mountain") else 0 for word in sentence] for sentence in sentences]
    features = {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES)),
    }
    data = datasets.Dataset.from_dict({"tokens": sentences, "ner_tags": tags}, datasets.Features(features))
    rows = ranking(
        save(data, tmp_path / "data"),
        "token-classification",
        {"tokens": "tokens", "tags": "ner_tags"},
        {str(build(zoo, name)): -0.1},
    )
    kept = tmp_path / "kept"
    result = hf_emms.confirm(rows, top=1, save_model=str(kept), **{**FAST, "epochs": 8}).rows[0].fine_tuned
    assert result is not None
    assert result.error is None
    assert set(result.scores) == {"entity F1", "accuracy"}
    # These tags depend on the word alone.
    assert result.scores["accuracy"] > 0.8
    assert "pipeline_tag: token-classification" in (kept / "README.md").read_text()
