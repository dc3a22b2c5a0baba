"""Fine-tuning for the tasks whose answers are spans, texts, boxes and captions, with families of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

import hf_emms
from hf_emms.heads.metrics import (
    accuracy_at_half,
    bleu,
    cider,
    exact_match,
    iou,
    vqa_accuracy,
    word_f1,
)
from hf_emms.heads.spans import AnswerSpan
from hf_emms.ranking import FineTuned
from tests.finetune.make import FAST, picture, ranking, save
from tests.helpers.tiny_checkpoints import build, tokenizer
from tests.helpers.tiny_pairs import build_pair

RED, BLUE = (180, 20, 20), (20, 20, 180)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


def confirmed(data: datasets.Dataset, task: str, folder: Path, to: Path, **more: Any) -> FineTuned:
    columns = {"answer": "answers.text"} if "answers" in data.column_names else {}
    rows = ranking(save(data, to / "data"), task, columns, {str(folder): -0.1})
    found = hf_emms.confirm(rows, top=1, **{**FAST, **more}).rows[0].fine_tuned
    assert found is not None
    assert found.error is None
    return found


def pictures(count: int) -> list[dict[str, Any]]:
    return [picture(RED if row % 2 else BLUE, row) for row in range(count)]


@pytest.mark.parametrize("name", ["bert", "llama", "deberta-v2"])
def test_answers_that_are_spans(root: Path, tmp_path: Path, name: str, emms_cache: Path) -> None:
    words = ["apple", "boats", "cat", "children", "dog", "harbour", "mat", "mountain", "pie", "rain"]
    rows = range(60)
    # Longer than these checkpoints read: the answer is in one of several windows.
    contexts = [f"{'the road near the mat ' * (row % 12)}a red {words[row % 10]} on a road {row}" for row in rows]
    answers = [{"text": [words[row % 10]], "answer_start": [contexts[row].index("red ") + 4]} for row in rows]
    questions = [f"what is red in {row}" for row in rows]
    data = datasets.Dataset.from_dict({"question": questions, "context": contexts, "answers": answers})
    found = confirmed(data, "question-answering", build(root, name), tmp_path)
    assert set(found.scores) == {"F1", "exact match"}
    assert 0.5 < found.scores["exact match"] <= found.scores["F1"] == found.value <= 1


@pytest.mark.parametrize("name", ["clip", "vilt", "blip-vqa"])
def test_answers_about_pictures(root: Path, tmp_path: Path, name: str, emms_cache: Path) -> None:
    rows = range(60)
    features = {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    data = datasets.Dataset.from_dict(
        {
            "image": pictures(60),
            "question": [["a photo of an apple", "the small cat"][row // 2 % 2] for row in rows],
            "answer": ["red" if row % 2 else "green" for row in rows],
        },
        datasets.Features(features),
    )
    found = confirmed(data, "visual-question-answering", build_pair(root, name), tmp_path)
    assert found.metric == "VQA accuracy"
    (run,) = found.runs
    assert any("a head on its pooled feature" in note for note in run.notes) == (name != "vilt")


@pytest.mark.parametrize("name", ["dual-vit", "owlvit"])
def test_boxes(root: Path, tmp_path: Path, name: str, emms_cache: Path) -> None:
    rows = range(60)
    features = {
        "image": datasets.Image(),
        "expression": datasets.Value("string"),
        "box": datasets.Sequence(datasets.Value("float32"), length=4),
    }
    data = datasets.Dataset.from_dict(
        {
            "image": pictures(60),
            "expression": [["the small cat", "a red apple"][row // 2 % 2] for row in rows],
            "box": [[0, 0, 10, 10] if row // 2 % 2 else [10, 10, 9, 9] for row in rows],
        },
        datasets.Features(features),
    )
    found = confirmed(data, "referring-expression", build_pair(root, name), tmp_path)
    assert set(found.scores) == {"IoU", "accuracy at 0.5"}
    assert found.spread >= 0


@pytest.mark.parametrize("name", ["resnet", "vision-encoder-decoder", "blip", "git"])
def test_captions(root: Path, tmp_path: Path, name: str, emms_cache: Path) -> None:
    folder = build(root / "captioners", name)
    if name != "resnet":
        tokenizer("bert").save_pretrained(folder)
    texts = [["a red apple", "the apple on a mat"] if row % 2 else ["a small cat"] for row in range(60)]
    features = {"image": datasets.Image(), "text": datasets.Sequence(datasets.Value("string"))}
    data = datasets.Dataset.from_dict({"image": pictures(60), "text": texts}, datasets.Features(features))
    found = confirmed(data, "image-to-text", folder, tmp_path)
    assert set(found.scores) == {"BLEU", "CIDEr"}
    (run,) = found.runs
    assert any("a recurrent decoder" in note for note in run.notes) == (name == "resnet")
    assert run.steps > 4 * -(-39 // 8)  # of 39 pictures, half have two captions


def test_an_own_decoder_learns_captions(root: Path, tmp_path: Path, emms_cache: Path) -> None:
    features = {"image": datasets.Image(), "text": datasets.Value("string")}
    texts = ["a red apple on the mat" if row % 2 else "the small cat near a dog" for row in range(80)]
    data = datasets.Dataset.from_dict({"image": pictures(80), "text": texts}, datasets.Features(features))
    found = confirmed(data, "image-to-text", build(root, "resnet"), tmp_path, epochs=12)
    assert found.value > 0.9


def test_scores_of_texts_are_what_their_definitions_say() -> None:
    assert vqa_accuracy(["a", "b", "c"], [(("a", 0.2), ("b", 0.8)), (("b", 1.0),), (("a", 1.0),)]) == pytest.approx(
        (2 / 3 + 1 + 0) / 3
    )
    right = [(AnswerSpan(0, 7, "The cat"),), (AnswerSpan(0, 3, "dog"),)]
    assert exact_match(["cat!", "a dog barks"], right) == 0.5
    assert word_f1(["cat!", "a dog barks"], right) == pytest.approx((1 + 2 / 3) / 2)
    assert word_f1(["dog"], right[:1]) == 0
    assert word_f1(["the", "cat"], [(AnswerSpan(0, 1, "a"),)] * 2) == 0.5  # neither has words: they are equal
    assert bleu(
        ["a cat sits on a mat"] * 2, [(("A cat sits on a mat", 1.0),), (("a cat sits on a mat", 1.0),)]
    ) == pytest.approx(1)
    # Of 6 words, 5 pairs, 4 triples and 3 runs of four, these are right; two words less than the reference.
    answer, reference = "a cat sat on a mat", "a cat sits on a mat by day"
    shares = (5 / 6) * (3 / 5) * (1 / 4) * (1 / 2 / 3)  # sacrebleu counts half a run where none is right
    assert bleu([answer], [((reference, 1.0),)]) == pytest.approx(np.exp(1 - 8 / 6) * shares ** (1 / 4))


def test_cider_prefers_words_that_say_something() -> None:
    right = [(("a red apple on a mat", 1.0),), (("a small cat near a dog", 1.0),), (("a boat in a harbour", 1.0),)]
    same = cider(["a red apple on a mat", "a small cat near a dog", "a boat in a harbour"], right)
    assert same == pytest.approx(10)
    common, telling = cider(["a a a", "a", "a"], right), cider(["red apple", "small cat", "boat"], right)
    assert common < telling < same


def test_cider_is_the_cosine_of_weighted_words_with_counts_clipped_and_lengths_compared() -> None:
    right = [(("red apple", 1.0),), (("cat", 1.0),)]
    # Each word is in one of two references: all weigh the same. Of one word of two, single words alone agree.
    of_half = 10 / 4 * (1 / np.sqrt(2)) * np.exp(-1 / (2 * 6**2))
    # Said twice, a word counts once; no pair of words agrees.
    of_twice = 10 / 4 * (1 / 2) * np.exp(-1 / (2 * 6**2))
    assert cider(["apple", "cat cat"], right) == pytest.approx((of_half + of_twice) / 2)


def test_scores_of_boxes_are_what_their_definitions_say() -> None:
    whole, half = (0.5, 0.5, 1.0, 1.0), (0.25, 0.5, 0.5, 1.0)
    assert iou([whole, half, half], [whole, whole, (0.75, 0.5, 0.5, 1.0)]) == pytest.approx((1 + 0.5 + 0) / 3)
    assert accuracy_at_half([whole, half], [whole, whole]) == 0.5
    assert np.isclose(iou([(0.5, 0.5, 0.0, 0.0)], [whole]), 0)
