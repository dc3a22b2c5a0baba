"""Heads and metrics for spans, tags, texts and captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from hf_emms.finetune.recipe import head_of
from hf_emms.heads import ClassHead, NumberHead
from hf_emms.heads.head import DEEP_HEAD_RATE, HEAD_RATE
from hf_emms.heads.metrics import (
    accuracy_at_half,
    bleu,
    entities,
    entity_f1,
    iou,
    vqa_accuracy,
)
from hf_emms.tasks import get_task
from hf_emms.tasks.token_classification import word_metrics
from tests.finetune.task_rows import KINDS, captioner, kept, loaded
from tests.finetune.test_baseline import tagged, texts
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_families import TEXT_FAMILIES
from tests.helpers.tiny_pairs import build_pair


@pytest.mark.parametrize("name", ["bert", "llama", "deberta-v2"])
def test_answers_are_found_in_texts_of_several_windows(zoo: Path, tmp_path: Path, name: str) -> None:
    _, result, _ = kept(KINDS["answers in long texts"], build(zoo, name), tmp_path, count=60, epochs=4)
    assert 0.5 < result.scores["exact match"] <= result.scores["F1"] == result.value <= 1


@pytest.mark.parametrize("name", ["bert", "bart"])
def test_words_beyond_the_maximum_length_get_tags(name: str, zoo: Path, tmp_path: Path) -> None:
    _, result, _ = kept(KINDS["tags of long texts"], build(zoo, name), tmp_path, count=60, epochs=8)
    assert result.scores["accuracy"] > 0.8


def test_each_caption_is_a_training_row(zoo: Path, tmp_path: Path) -> None:
    _, result, _ = kept(KINDS["several captions"], captioner(zoo, "git"), tmp_path)
    (run,) = result.runs
    assert run.steps > 2 * -(-26 // 8)  # of 26 pictures, half have two captions


@pytest.mark.parametrize(("name", "words"), [("resnet", 24), ("vision-encoder-decoder", 38)])
def test_captions_are_truncated_to_the_length_of_generation(name: str, words: int, zoo: Path) -> None:
    """The custom decoder writes 24 words, and a model 40 tokens, each with a start and an end token."""
    data = KINDS["captions"].rows(20)
    lengths = [(2, words, words + 1, 60)[row % 4] for row in range(20)]
    captions = [" ".join((["cat", "dog", "mat"][: 2 + row % 2] * 30)[:length]) for row, length in enumerate(lengths)]
    folder = captioner(zoo, name) if name != "resnet" else build(zoo, name)
    network, splits = loaded(folder, data.remove_columns("text").add_column("text", captions), "image-to-text")
    labels = network.rows(splits.train, True).batch(np.arange(len(splits.train)))["labels"]
    said = [min(words, len(texts[0][0].split())) for texts in splits.train.references]
    assert (labels > 0).sum(1).tolist() == [1 + count + 1 for count in said]
    assert {row[row > 0][-1].item() for row in labels} == {2}, "the end"
    assert [len(text.split()) for text in network.predictions(labels[:, 1:].clamp(0), splits.train)] == said
    if name != "resnet":  # models with beam search or sampling also write the likeliest tokens
        model, batch = network.model.eval(), network.rows(splits.test, False).batch(np.arange(3))
        likeliest = model.generate(**batch, max_new_tokens=40)
        model.generation_config.update(do_sample=True, num_beams=4)
        expected = torch.nn.functional.pad(likeliest, (0, 80 - likeliest.shape[1]))
        assert torch.equal(network.predict(model, batch), expected), "of the same length for all batches"


def test_the_custom_decoder_writes_the_likeliest_next_word(zoo: Path) -> None:
    network, splits = loaded(build(zoo, "resnet"), KINDS["captions"].rows(20), "image-to-text")
    model, batch = network.model.eval(), network.rows(splits.test, False).batch(np.arange(1))
    (written,) = network.predict(model, batch).tolist()
    words = range(1, model.head["out"].out_features)
    assert (len(written), len(words), model.head["decoder"].hidden_size) == (24, 12, 128)
    for count in range(3):
        labels = [torch.tensor([[1, *written[:count], word]]) for word in words]
        losses = [model(labels=of_word, **batch)["loss"].item() for of_word in labels]
        assert words[int(np.argmin(losses))] == written[count]
    # Tokens after the end, start tokens, padding and unknown words are not written.
    assert network.predictions(np.array([[5, 1, 0, 3, 4, 2, 6]]), splits.test) == ["a ,"]


def test_labels_of_rows_decode_to_predictions() -> None:
    one = ClassHead(None).outputs(["b", "a", "b"])
    assert (one.count, one.labels(["a", "b", "c"]).tolist()) == (2, [1, 0, -100])
    assert one.predictions(np.array([[0.0, 1.0], [2.0, 1.0]])) == ["a", "b"]
    several = ClassHead(None).outputs([("a",), ("a", "b")])
    assert (several.count, several.labels([("b", "c"), ()]).tolist()) == (2, [[0, 1], [0, 0]])
    assert several.predictions(np.array([[0.0, 0.5], [1e-3, -1.0]])) == [("b",), ("a",)]
    number = NumberHead(None).outputs([1.0, 5.0])
    assert (number.count, number.config["num_labels"], number.labels([1.0, 7.0]).tolist()) == (1, 1, [-1, 2])
    assert number.predictions(np.array([[-1.0], [2.0]])) == [1, 7]
    assert number.loss(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 0.0])) == 5
    assert NumberHead(None).outputs([2.0, 2.0]).labels([3.0]).tolist() == [1]


@pytest.mark.parametrize(("kind", "name"), [("some answers", "gemma"), ("tags", "bart"), ("boxes", "dual-vit")])
def test_custom_layers_use_the_loss_of_their_outputs(kind: str, name: str, zoo: Path) -> None:
    folder = build_pair(zoo, name) if kind == "boxes" else build(zoo, name, TEXT_FAMILIES.get(name), reads_text=True)
    network, splits = loaded(folder, KINDS[kind].rows(30), KINDS[kind].task, columns=KINDS[kind].columns)
    assert str(network.notes[0]) == head_of(splits.task).layers_note
    assert network.head_rate == (DEEP_HEAD_RATE if kind == "boxes" else HEAD_RATE)
    model, (labels, inputs) = (
        network.model.eval(),
        (network.rows(splits.train, yes).batch(np.arange(6)) for yes in (1, 0)),
    )
    outputs, loss = model(**inputs), model(**labels)["loss"].item()
    if kind == "tags":
        assert loss == pytest.approx(cross_entropy(outputs["logits"].flatten(0, 1), labels["labels"].flatten()).item())
        assert labels["attention_mask"][labels["labels"] != -100].all()
    elif kind == "some answers":
        sides = [cross_entropy(outputs[f"{side}_logits"], labels[f"{side}_positions"]) for side in ("start", "end")]
        assert loss == pytest.approx(sum(sides).item() / 2)
        assert (outputs["start_logits"][inputs["attention_mask"] == 0] == -1e4).all()


def test_metrics_of_texts_follow_their_definitions() -> None:
    answers = [(("a", 0.2), ("b", 0.8)), (("b", 1.0),), (("a", 1.0),)]
    assert vqa_accuracy(["a", "b", "c"], answers) == pytest.approx((2 / 3 + 1 + 0) / 3)
    cat, dogs = texts("A cat sits on a mat"), texts("dogs bark", "a dog barks at night")
    assert bleu(["a dog barks at night", "a cat sits on a mat"], [dogs, cat]) == pytest.approx(1)
    # The precision of 6 words, 5 pairs, 4 triples and 3 runs of four; two words shorter than the reference.
    shares = (5 / 6) * (3 / 5) * (1 / 4) * (1 / 2 / 3)  # sacrebleu counts half a match if there is none
    of_less = bleu(["a cat sat on a mat"], [texts("a cat sits on a mat by day")])
    assert of_less == pytest.approx(np.exp(1 - 8 / 6) * shares ** (1 / 4))


def test_metrics_of_boxes_follow_their_definitions() -> None:
    whole, half = (0.5, 0.5, 1.0, 1.0), (0.25, 0.5, 0.5, 1.0)
    assert iou([whole, half, half], [whole, whole, (0.75, 0.5, 0.5, 1.0)]) == pytest.approx((1 + 0.5 + 0) / 3)
    assert accuracy_at_half([whole, half], [whole, whole]) == 0.5
    assert np.isclose(iou([(0.5, 0.5, 0.0, 0.0)], [whole]), 0)


def test_pairs_with_a_rare_class_are_scored_by_its_f1() -> None:
    metrics = head_of(get_task("text-pair-classification")).metrics
    rare = ["1"] * 3 + ["0"] * 7
    first, second = metrics(rare)
    assert (first.name, second.name) == ("F1 of 1", "accuracy")
    assert first.compute(["1"] * 2 + ["0"] * 7 + ["1"], rare) == pytest.approx(2 / 3)
    assert first.compute(["0"] * 10, rare) == first.compute(["0"], ["0"]) == 0
    assert metrics(["1", "0"])[0].name == metrics(["a", "b", "c", "c", "c"])[0].name == "accuracy"


@pytest.mark.parametrize(
    ("right", "predicted", "f1"),
    [
        # Results of seqeval 1.2.2.
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
    references = [tagged(*tags.split()) for tags in right]
    assert entity_f1([tags.split() for tags in predicted], references) == pytest.approx(f1)


def test_neighboring_words_of_a_plain_type_are_an_entity() -> None:
    predicted = [["O", "PER", "PER", "LOC", "O"]]
    assert entity_f1(predicted, [tagged("O", "PER", "PER", "O", "O")]) == pytest.approx(2 / 3)
    assert entity_f1(predicted, [tagged("O", "O", "O", "O", "O")]) == 0


def test_entities_in_all_tagging_schemes() -> None:
    whole = {(0, 2, "PER"), (3, 4, "LOC")}
    for tags in ("B-PER I-PER O B-LOC", "I-PER I-PER O I-LOC", "B-PER E-PER O S-LOC", "B-PER L-PER O U-LOC"):
        assert entities(tags.split()) == whole
    assert entities(["B", "I", "O"]) == {(0, 2, "")}
    assert entities(["B-PER", "E-PER", "I-PER"]) == {(0, 2, "PER"), (2, 3, "PER")}


def test_plain_types_are_scored_as_entities_if_most_words_have_none() -> None:
    references = [tagged("PER", "PER", "O", "O", "O", "LOC", "O")]
    metric, accuracy = word_metrics(references)
    assert (metric.name, accuracy.name) == ("entity F1", "accuracy")
    assert metric.compute([["PER", "O", "O", "O", "O", "LOC", "O"]], references) == pytest.approx(0.5)
    assert metric.compute([list(references[0].tags)], references) == 1
    assert accuracy.compute([["PER", *"OOOOO", "LOC"]], references) == pytest.approx(4 / 7)
    assert [metric.name for metric in word_metrics([tagged("N", "O", "V", "N", "V")])] == ["accuracy"]
