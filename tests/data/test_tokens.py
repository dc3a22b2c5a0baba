"""Sentences of tagged words, and texts with spans of characters: every word is a row with its tag in words."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest

from hf_emms import data
from hf_emms.inputs import Spans
from hf_emms.options import Options
from tests.helpers.samples import load_sample, refused

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
    notes = " | ".join(sample.notes)
    assert "50 words of 20 sentences" in notes
    assert "tag O (80% of the words): in each sentence as many as it has other words, at least one" in notes
    assert "B-PER and I-PER are 'person'" in notes


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
    (note,) = [note for note in sample.notes if "left out" in note]
    assert note.startswith("3 rows left out (")
    assert "row 4: no label; row 8: no label" in note


def test_what_transformers_ignores_is_no_tag() -> None:
    sentences = [["the", f"cat{row}"] for row in range(60)]
    tags = [[-100, 1] if row == 4 else [0, 1] for row in range(60)]
    sample = load_sample(tagged(sentences, tags, datasets.Value("int64")))
    assert (sample.label_texts, sample.skipped) == (("0", "1"), 1)


def test_too_many_sentences_without_a_tag_for_each_word_are_an_error_with_the_first_one() -> None:
    data = tagged([["a", "b"]] * 20, [["DET"]] * 20, datasets.Value("string"), "upos")
    data = data.map(lambda row, number: {"tokens": ["a", f"b{number}"]}, with_indices=True)
    assert "the sentence has 2 words and 1 valid tag" in refused(data).message


def test_a_single_tag_is_an_error() -> None:
    data = tagged([["a", f"b{row}"] for row in range(20)], [["O", "O"]] * 20, datasets.Value("string"))
    assert "every row of the sample has the same tags" in refused(data).message


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


def test_labels_without_a_word_are_counted() -> None:
    sentences = [[f"word{row}", "and", f"other{row}"] for row in range(40)]
    tags = [[f"T{row}", "CC", "NN"] for row in range(40)]
    sample = load_sample(tagged(sentences, tags, datasets.Value("string"), "tags"), max_samples=30)
    assert any("labels have no word among these" in note for note in sample.notes)


def spans(text: str, *entities: tuple[int | None, int, str], count: int = 12) -> datasets.Dataset:
    structs = [{"start": start, "end": end, "label": label} for start, end, label in entities]
    return datasets.Dataset.from_dict({"text": [f"{text}{row}" for row in range(count)], "entities": [structs] * count})


def test_spans_that_are_left_out_are_counted() -> None:
    rows = spans(
        "Ada met Bob in Paris",
        *((0, 3, "PER"), (4, 700, "LOC"), (5, 4, "LOC"), (-3, -1, "LOC"), (None, 3, "LOC")),
        *((3, 4, "LOC"), (1, 3, "LOC"), (8, 10, "PER")),
    )
    sample = load_sample(rows)
    assert sample.label_texts == ("no entity", "person")
    assert {
        "spans left out, because they are not in their text: 48",
        "spans left out, because they hold spaces alone: 12",
        "spans left out, because they overlap a longer one: 12",
        "spans that end inside of a word, as `end` is exclusive: 12",
    } <= set(sample.notes)
    outside = "every word has the tag O; spans left out, because they are not in their text"
    assert outside in refused(spans("Ada met Bob", (50, 60, "PER"))).message


def test_ends_on_the_last_character_are_recognised() -> None:
    text = "Ada met B in New York, N.Y. as "
    entities = ((0, 3, "PER"), (8, 9, "PER"), (13, 21, "LOC"), (23, 27, "LOC"))
    on_last = spans(text, *((start, end - 1, label) for start, end, label in entities))
    moved, plain = load_sample(on_last), load_sample(spans(text, *entities))
    assert words_of(moved) == words_of(plain)
    assert any(note.startswith("`end` is read as the last character") for note in moved.notes)
    assert not any("`end`" in note for note in plain.notes)
    training = [data.load_sample(Options.of(rows).sample, training=True) for rows in (on_last, spans(text, *entities))]
    assert words_of(training[0]) == words_of(training[1])


def test_characters_of_texts_without_spaces_are_words() -> None:
    sample = load_sample(spans("我昨天在北京见了张三", (4, 6, "LOC"), (8, 10, "PER")))
    entities = {(word, label) for _, word, label in words_of(sample) if label != "no entity"}
    assert entities == {("北", "location"), ("京", "location"), ("张", "person"), ("三", "person")}
    assert not any("inside of a word" in note for note in sample.notes)
