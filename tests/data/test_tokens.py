"""Sentences of tagged words, and texts with spans of characters: every word is a row with its tag as text."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest

from hf_emms.inputs import Spans
from hf_emms.options import SampleOptions
from hf_emms.tasks import TASKS, Example
from hf_emms.tasks.token_classification import span_items, words_in_spans
from tests.helpers.samples import codes, load_sample, reasons

BIO = ["O", "B-PER", "I-PER", "B-creative-work", "I-creative-work"]


def tagged(
    sentences: list[list[str]], tags: list[list[Any]], feature: Any, column: str = "ner_tags"
) -> datasets.Dataset:
    words, ids = datasets.List(datasets.Value("string")), datasets.Value("string")
    features = datasets.Features({"id": ids, "tokens": words, column: datasets.List(feature)})
    rows = {"id": [str(number) for number in range(len(tags))], "tokens": sentences, column: tags}
    return datasets.Dataset.from_dict(rows, features=features)


def people(count: int) -> datasets.Dataset:
    """Five words of which two are a person, in every second sentence."""
    sentences = [["Yesterday", "Ada", "Lovelace", "met", f"someone{row}"] for row in range(count)]
    tags = [[0, 1, 2, 0, 0] if row % 2 else [0] * 5 for row in range(count)]
    return tagged(sentences, tags, datasets.ClassLabel(names=BIO))


def words_of(sample: Any) -> list[tuple[str, str, str]]:
    return [
        (*sample.inputs[int(place)], sample.label_texts[code])
        for place, code in zip(sample.input_of_row, sample.codes, strict=True)
    ]


def test_entities_are_rows_and_of_other_words_as_many_are_kept() -> None:
    sample = load_sample(people(20))
    assert sample.task.id == "token-classification"
    assert sample.columns == {"tokens": "tokens", "tags": "ner_tags"}
    assert sample.label_texts == ("no entity", "person")
    # In ten sentences two words of a person and two others, in ten one word.
    assert np.bincount(sample.codes).tolist() == [30, 20]
    assert (sample.n_read, len(np.unique(sample.groups))) == (20, 20)
    assert {word for _, word, label in words_of(sample) if label == "person"} == {"Ada", "Lovelace"}


SENTENCES = [
    Example(1, ("a b  c d",), ("O", "B-PER", "O", "I-PER", "O"), (None,) * 5),
    Example(2, ("e f",), ("O", "O"), (None,) * 2),
    Example(3, ("g",), ("B-LOC",), (None,)),
]


def test_items_of_sentences_and_all_that_is_said_of_them() -> None:
    make, learn = TASKS["token-classification"].items, TASKS["token-classification"].training_items
    assert make is not None
    assert learn is not None
    said = "tag O (57% of the words) is sampled: as many per sentence as other words, at least one"
    items, notes = make(SENTENCES, SampleOptions("x"))
    first = [(1, 2, 3, "person"), (1, 5, 6, "person"), (1, 7, 8, "no entity"), (1, 0, 1, "no entity")]
    assert items == [*first, (2, 0, 1, "no entity"), (3, 0, 1, "location")]
    assert notes == ["6 words of 3 sentences, each with its tag", said]
    few = [make(SENTENCES, SampleOptions("x", max_samples=most)) for most in (3, 4, 5, 6)]
    assert [items for items, _ in few] == [first, first, items[:5], items]
    assert few[0][1] == ["4 words of 1 sentence, each with its tag", said]
    words = [(1, 0, 1, "O"), (1, 2, 3, "B-PER"), (1, 5, 6, "I-PER"), (1, 7, 8, "O"), (2, 0, 1, "O"), (2, 2, 3, "O")]
    assert learn(SENTENCES, SampleOptions("x")) == ([*words, (3, 0, 1, "B-LOC")], [])


@pytest.mark.parametrize(
    ("text", "entities", "words", "n_skipped"),
    [
        (
            "Ada met Bob in New York.",
            ((0, 3, "PER"), (15, 23, "LOC"), (15, 18, "X"), (24, 25, "Z"), (-1, 2, "Z"), (2, 2, "Z")),
            "Ada/B-PER met/O Bob/O in/O New/B-LOC York/I-LOC ./O",
            4,
        ),
        ("Ada runs", ((4, 6, "X"), (6, 7, "X"), (0, 3, "PER")), "Ada/B-PER ru/B-X n/B-X s/O", 0),
        ("a b c", ((0, 3, "X"), (2, 5, "Y")), "a/B-X b/I-X c/O", 1),
    ],
)
def test_words_take_the_tags_of_the_longest_spans_over_them(
    text: str, entities: tuple[tuple[int, int, str], ...], words: str, n_skipped: int
) -> None:
    starts, stops, labels = zip(*entities, strict=True)
    example = Example(1, (text,), labels, starts, stops)
    tagged_words = words_in_spans(example)
    assert " ".join(f"{text[word.start : word.stop]}/{word.tag}" for word in tagged_words) == words
    _, notes = span_items([example], SampleOptions("x"))
    assert (notes[-1].rpartition(": ")[2] == str(n_skipped)) == bool(n_skipped)


def test_rows_are_words_and_bounded_by_the_size_of_a_sample() -> None:
    sample = load_sample(people(200), max_samples=40)
    assert 36 < len(sample) <= 40
    assert sample.n_read < 40
    assert sample.available == 200
    assert load_sample(people(30), max_samples=40).available == 30
    again = load_sample(people(200), max_samples=40, seed=1)
    assert again.fingerprint != sample.fingerprint


@pytest.mark.parametrize(
    ("column", "feature", "tags", "labels"),
    [
        ("upos", datasets.ClassLabel(names=["DET", "NOUN"]), [0, 1], ("determiner", "noun")),
        ("pos_tags", datasets.Value("string"), ["NN", "VBZ"], ("NN", "VBZ")),
        ("tags", datasets.Value("int64"), [7, 9], ("7", "9")),
        ("ner", datasets.Value("string"), ["O", "S-ORG"], ("no entity", "organization")),
        ("ner_tags", datasets.Value("string"), ["O", "U-LOC"], ("location", "no entity")),
        ("xpos", datasets.Value("string"), ["DT", "NN"], ("DT", "NN")),
    ],
)
def test_tags_are_classes_texts_or_numbers(column: str, feature: Any, tags: list[Any], labels: tuple[str, ...]) -> None:
    sentences = [["the", f"cat{row}"] for row in range(8)]
    sample = load_sample(tagged(sentences, [tags] * 8, feature, column))
    assert (sample.task.id, sample.label_texts, len(sample)) == ("token-classification", labels, 16)


def test_words_are_found_where_they_are_also_with_spaces_inside_and_empty_ones_between() -> None:
    sentences = [["Hà Nội", "", "is", f"big{row}"] for row in range(8)]
    sample = load_sample(tagged(sentences, [["PROPN", "X", "VERB", "ADJ"]] * 8, datasets.Value("string"), "upos"))
    assert {(word, label) for _, word, label in words_of(sample)} >= {("Hà\u00a0Nội", "proper noun"), ("is", "verb")}
    assert len(sample) == 24
    assert isinstance(sample.inputs, Spans)


def test_sentences_that_cannot_be_read_are_left_out_and_counted() -> None:
    data = people(100)
    words, tags = data["tokens"][:], data["ner_tags"][:]
    (words[3], tags[3]), (words[5], tags[5]), (words[7], tags[7]) = ([], []), (["a", "b"], [0]), (["a"], [-1])
    sample = load_sample(tagged(words, tags, datasets.ClassLabel(names=BIO)))
    assert (sample.skipped, sample.n_read) == (3, 97)
    assert codes(sample) == ["rows-skipped"]
    assert reasons(sample) == ("row 4: no label", "row 8: no label")


def test_what_transformers_ignores_is_no_tag() -> None:
    sentences = [["the", f"cat{row}"] for row in range(60)]
    tags = [[-100, 1] if row == 4 else [0, 1] for row in range(60)]
    sample = load_sample(tagged(sentences, tags, datasets.Value("int64")))
    assert (sample.label_texts, sample.skipped) == (("0", "1"), 1)


def test_spans_of_characters_are_the_same_words_with_tags() -> None:
    texts = [f"Ada Lovelace met Bob in Paris{row}." for row in range(12)] + [f"nothing {row}" for row in range(12)]
    named = [(0, 12, "PER"), (17, 20, "PER"), (4, 16, "overlaps"), (24, 29, "LOC")]
    structs = [{"start": start, "end": end, "label": label} for start, end, label in named]
    entities = [structs] * 12 + [[]] * 12
    sample = load_sample(datasets.Dataset.from_dict({"text": texts, "entities": entities}))
    assert sample.task.id == "span-classification"
    assert sample.columns == {"text": "text", "entities": "entities.label"}
    assert sample.label_texts == ("location", "no entity", "person")
    people = {(word, label) for _, word, label in words_of(sample) if label != "no entity"}
    assert people == {("Ada", "person"), ("Lovelace", "person"), ("Bob", "person"), ("Paris", "location")}


def test_types_of_entities_alone_are_labels_too() -> None:
    sentences = [["Ada", "met", "nobody", f"today{row}"] for row in range(8)]
    sample = load_sample(tagged(sentences, [["PER", "O", "O", "O"]] * 8, datasets.Value("string")))
    assert sample.label_texts == ("no entity", "person")


def spans(text: str, *entities: tuple[int | None, int, str], count: int = 12) -> datasets.Dataset:
    structs = [{"start": start, "end": end, "label": label} for start, end, label in entities]
    return datasets.Dataset.from_dict({"text": [f"{text}{row}" for row in range(count)], "entities": [structs] * count})


def test_characters_of_texts_without_spaces_are_words() -> None:
    sample = load_sample(spans("我昨天在北京见了张三", (4, 6, "LOC"), (8, 10, "PER")))
    entities = {(word, label) for _, word, label in words_of(sample) if label != "no entity"}
    assert entities == {("北", "location"), ("京", "location"), ("张", "person"), ("三", "person")}
