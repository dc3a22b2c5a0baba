"""A task may make many rows of one example: here every word of a sentence, each with its tag."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import numpy as np
import pytest

from hf_emms.inputs import TEXT, Spans
from hf_emms.options import SampleOptions
from hf_emms.tasks import TASKS, Column, Example, Item, Task
from tests.helpers.samples import load_sample


def tagged_words(examples: Sequence[Example], options: SampleOptions) -> tuple[list[Item], list[str]]:
    items = []
    for example in examples:
        start = 0
        for word, tag in zip(example.contents[-1].split(" "), example.labels, strict=True):
            items.append(Item(example.id, start, start + len(word), tag))
            start += len(word) + 1
    return items, [f"{len(items)} words"]


TAGS = Task(
    id="word-tags",
    input=TEXT,
    inputs=(Column("tokens", ("tokens", "words"), ("strings",), TEXT, clean=" ".join, is_list=True),),
    label=Column("tags", ("pos_tags", "tags"), ("classes", "strings")),
    categorical=False,
    label_text=str,
    items=tagged_words,
)


def sentences(n: int) -> datasets.Dataset:
    features = datasets.Features(
        {
            "words": datasets.List(datasets.Value("string")),
            "tags": datasets.List(datasets.ClassLabel(names=["DET", "NOUN", "VERB"])),
        }
    )
    rows = [{"words": ["The", f"cat{i}", "sleeps"][: 2 + i % 2], "tags": [0, 1, 2][: 2 + i % 2]} for i in range(n)]
    return datasets.Dataset.from_list(rows, features=features)


def test_every_word_is_a_row_and_its_sentence_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASKS, "find", lambda name: TAGS if name == TAGS.id else None)
    sample = load_sample(sentences(6), task="word-tags")
    assert sample.columns == {"tokens": "words", "tags": "tags"}
    assert sample.label_texts == ("DET", "NOUN", "VERB")
    assert (len(sample), sample.n_read, sample.categorical, len(np.unique(sample.groups))) == (15, 6, True, 6)
    assert isinstance(sample.inputs, Spans)
    rows = [sample.inputs[int(place)] for place in sample.input_of_row]
    words = {
        (sentence, word, sample.label_texts[code]) for (sentence, word), code in zip(rows, sample.codes, strict=True)
    }
    assert ("The cat3 sleeps", "cat3", "NOUN") in words
    assert ("The cat3 sleeps", "sleeps", "VERB") in words
    assert sample.reading is not None
    assert sample.reading.facts == ("15 words",)
