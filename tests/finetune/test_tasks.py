"""What tiny checkpoints learn of tasks whose answers are spans, tags, texts and captions, and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.finetune.network import load_network
from hf_emms.finetune.splits import load_splits
from hf_emms.heads.metrics import accuracy_at_half, bleu, cider, entities, entity_f1, iou, vqa_accuracy
from hf_emms.heads.words import TaggedText
from hf_emms.inputs import IMAGE
from hf_emms.options import Options
from hf_emms.tasks.text_pair_classification import pair_metrics
from hf_emms.tasks.token_classification import word_metrics
from tests.finetune.task_rows import KINDS, captioner, kept
from tests.helpers.tiny_checkpoints import build, repo_of


@pytest.mark.parametrize("name", ["bert", "llama", "deberta-v2"])
def test_answers_are_found_in_texts_of_several_windows(zoo: Path, tmp_path: Path, name: str) -> None:
    _, result, _ = kept(KINDS["answers in long texts"], build(zoo, name), tmp_path, count=60, epochs=4)
    assert 0.5 < result.scores["exact match"] <= result.scores["F1"] == result.value <= 1


@pytest.mark.parametrize("name", ["bert", "bart"])
def test_every_word_of_texts_longer_than_a_checkpoint_reads_gets_a_tag(name: str, zoo: Path, tmp_path: Path) -> None:
    _, result, _ = kept(KINDS["tags of long texts"], build(zoo, name), tmp_path, count=60, epochs=8)
    assert result.scores["accuracy"] > 0.8


@pytest.mark.parametrize("name", ["vision-encoder-decoder", "git"])
def test_each_of_several_captions_is_learnt(name: str, zoo: Path, tmp_path: Path) -> None:
    _, result, _ = kept(KINDS["several captions"], captioner(zoo, name), tmp_path)
    (run,) = result.runs
    assert run.steps > 2 * -(-26 // 8)  # of 26 pictures, half have two captions


@pytest.mark.parametrize(("name", "words"), [("resnet", 24), ("vision-encoder-decoder", 38)])
def test_captions_are_learnt_as_far_as_they_are_written(name: str, words: int, zoo: Path) -> None:
    """24 words by a decoder of ours, and by a model 40 tokens, each with a start and an end."""
    data = KINDS["captions"].rows(20)
    captions = [" ".join(["cat", "dog", "mat"][: 2 + row % 2] * 20) for row in range(20)]
    splits = load_splits(Options.of(data.remove_columns("text").add_column("text", captions), task="image-to-text"))
    folder = captioner(zoo, name) if name != "resnet" else build(zoo, name)
    network = load_network(plan_extraction(repo_of(folder), IMAGE, "image-to-text"), splits)
    labels = network.rows(splits.train, True).batch(np.arange(len(splits.train)))["labels"]
    assert (labels > 0).sum(1).tolist() == [1 + words + 1] * len(splits.train)
    assert set(labels[:, -1].tolist()) == {2}, "the end"
    labels = labels[:, 1:]
    assert {len(text.split()) for text in network.predictions(labels, splits.train)} == {words}


def test_a_decoder_of_ours_learns_captions(zoo: Path, tmp_path: Path) -> None:
    _, result, _ = kept(KINDS["captions"], build(zoo, "resnet"), tmp_path, count=80, epochs=12)
    assert result.value > 0.9


def test_scores_of_texts_are_what_their_definitions_say() -> None:
    assert vqa_accuracy(["a", "b", "c"], [(("a", 0.2), ("b", 0.8)), (("b", 1.0),), (("a", 1.0),)]) == pytest.approx(
        (2 / 3 + 1 + 0) / 3
    )
    assert bleu(
        ["a cat sits on a mat"] * 2, [(("A cat sits on a mat", 1.0),), (("a cat sits on a mat", 1.0),)]
    ) == pytest.approx(1)
    assert bleu(
        ["a dog barks at night", "a cat sits on a mat"],
        [(("dogs bark", 0.5), ("a dog barks at night", 0.5)), (("a cat sits on a mat", 1.0),)],
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
    # Said three times, a word counts once; no pair of words agrees.
    of_thrice = 10 / 4 * (1 / 3) * np.exp(-(2**2) / (2 * 6**2))
    assert cider(["apple", "cat cat cat"], right) == pytest.approx((of_half + of_thrice) / 2)
    assert cider(["apple", "apple"], [(("apple pie", 1.0),), (("an apple", 1.0),)]) == 0, "a word of all references"
    assert cider(["cat"], [(("red apple", 0.5), ("cat", 0.5))]) == pytest.approx(10 / 4 / 2), "a mean over captions"


def test_scores_of_boxes_are_what_their_definitions_say() -> None:
    whole, half = (0.5, 0.5, 1.0, 1.0), (0.25, 0.5, 0.5, 1.0)
    assert iou([whole, half, half], [whole, whole, (0.75, 0.5, 0.5, 1.0)]) == pytest.approx((1 + 0.5 + 0) / 3)
    assert accuracy_at_half([whole, half], [whole, whole]) == 0.5
    assert np.isclose(iou([(0.5, 0.5, 0.0, 0.0)], [whole]), 0)


def test_of_duplicates_that_are_rare_the_first_score_is_their_f1() -> None:
    rare = ["1"] * 3 + ["0"] * 7
    first, second = pair_metrics(rare)
    assert (first.name, second.name) == ("F1 of 1", "accuracy")
    assert first.compute(["1"] * 2 + ["0"] * 7 + ["1"], rare) == pytest.approx(2 / 3)
    assert first.compute(["0"] * 10, rare) == first.compute(["0"], ["0"]) == 0
    assert pair_metrics(["1", "0"])[0].name == pair_metrics(["a", "b", "c", "c", "c"])[0].name == "accuracy"


def tagged(*tags: Sequence[str]) -> list[TaggedText]:
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
    references = tagged(*(tags.split() for tags in right))
    assert entity_f1([tags.split() for tags in predicted], references) == pytest.approx(f1)


def test_entities_of_all_ways_of_marking_them() -> None:
    whole = {(0, 2, "PER"), (3, 4, "LOC")}
    for tags in ("B-PER I-PER O B-LOC", "I-PER I-PER O I-LOC", "B-PER E-PER O S-LOC", "B-PER L-PER O U-LOC"):
        assert entities(tags.split()) == whole
    assert entities(["B", "I", "O"]) == {(0, 2, "")}


def test_types_alone_are_scored_as_entities_where_most_words_have_none() -> None:
    references = tagged(["PER", "PER", "O", "O", "O", "LOC", "O"])
    metric, accuracy = word_metrics(references)
    assert (metric.name, accuracy.name) == ("entity F1", "accuracy")
    assert metric.compute([["PER", "O", "O", "O", "O", "LOC", "O"]], references) == pytest.approx(0.5)
    assert metric.compute([list(references[0].tags)], references) == 1
    assert accuracy.compute([["PER", *"OOOOO", "LOC"]], references) == pytest.approx(4 / 7)
    assert [metric.name for metric in word_metrics(tagged(["N", "O", "V", "N", "V"]))] == ["accuracy"]
