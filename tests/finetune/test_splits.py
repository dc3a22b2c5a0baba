"""The splits for fine-tuning are disjoint, and use the dataset's splits if there are some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_emms.finetune.splits import _MAX_EVALUATED, SPLITS_VERSION, Splits, load_splits
from hf_emms.options import Options
from tests.finetune.make import colours, save, texts
from tests.helpers.dense_search import CISI, NFCORPUS, dense_search
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes

TEST_ROWS_BY_CLASS = {9, 38, 33, 14, 10, 31, 3, 23}
TEST_ROWS = {15, 35, 26, 31, 20, 34, 37, 19}


def parts(data: object, **settings: object) -> dict:
    return load_splits(Options.of(data, **settings).sample).parts


def test_rows_that_share_an_input_are_in_one_split() -> None:
    names = [text for text in texts(40) for _ in range(3)]
    data = datasets.Dataset.from_dict({"text": names, "label": [row / 7 for row in range(120)]})
    of_purpose = parts(data, task="text-regression")
    groups = [set(part.groups.tolist()) for part in of_purpose.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert [len(of_purpose[name]) for name in ("train", "validation", "test")] == [78, 18, 24]
    answers = sorted(answer for part in of_purpose.values() for answer in part.references)
    assert answers == [row / 7 for row in range(120)]


def test_splits_do_not_depend_on_row_order_and_contain_every_class() -> None:
    data = colours(60)
    first, second = load_splits(Options.of(data).sample), load_splits(Options.of(data.shuffle(seed=5)).sample)
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != load_splits(Options.of(data, seed=3).sample).fingerprint
    for part in first.parts.values():
        assert abs(Counter(part.references)["red"] - len(part) / 2) <= 1


@pytest.mark.parametrize(
    ("label_of", "task", "test_rows", "fingerprint"),
    [
        (lambda row: "abc"[row % 3], "text-classification", TEST_ROWS_BY_CLASS, "df78abb2ef7ea4029eebfa2f9d044d30"),
        (lambda row: row / 7, "text-regression", TEST_ROWS, "1f249f4734315fb0bb2d90c9de29cbea"),
    ],
)
def test_test_rows_change_only_with_the_version_of_splits(
    label_of: Callable[[int], Any], task: str, test_rows: set[int], fingerprint: str
) -> None:
    labels = [label_of(row) for row in range(40)]
    data = datasets.Dataset.from_dict({"text": [f"text {row}" for row in range(40)], "label": labels})
    splits = load_splits(Options.of(data, task=task).sample)
    assert SPLITS_VERSION == 1, "raised: write the new rows and fingerprints down here"
    assert {int(splits.test.inputs[input].split()[1]) for input in splits.test.input_of_row} == test_rows
    assert splits.fingerprint == fingerprint


@pytest.mark.parametrize(
    ("train", "validation", "test", "ranked", "words"),
    [
        (50, (45, 60), (60, 70), "train", "45 rows, split train; 15 rows, split validation; 10 rows, split test"),
        # If more than half of the validation rows are shared, the split is not used.
        (30, (30, 40), (35, 50), "train", "30 rows, split train; 5 rows, split validation; 15 rows, split test"),
        (30, (30, 40), (30, 40), "train", "26 rows, split train; 4 rows, held out of split train; 10 rows, split test"),
        (40, (40, 60), (), "train", "34 rows, split train; 6 rows, held out of split train; 20 rows, split validation"),
        (
            40,
            (40, 60),
            (60, 90),
            "test",
            "26 rows, split test; 4 rows, held out of split test; 20 rows, split validation",
        ),
    ],
)
def test_splits_of_the_dataset_are_used_without_shared_rows(
    train: int, validation: tuple[int, int], test: tuple[int, ...], ranked: str, words: str
) -> None:
    places = {"train": (0, train), "validation": validation, "test": test}
    data = {name: colours(place[1] - place[0], place[0]) for name, place in places.items() if place}
    splits = load_splits(Options.of(datasets.DatasetDict(data), split=ranked).sample)
    assert "; ".join(splits.sizes.values()) == words
    assert [note.code for note in splits.notes] == ["split-not-used"] * (validation == test)


def test_a_test_split_without_labels_is_not_used() -> None:
    train = datasets.Dataset.from_dict({"text": texts(30), "label": ["a", "b"] * 15})
    test = datasets.Dataset.from_dict({"text": [f"text {row}" for row in range(10)], "label": [None] * 10})
    splits = load_splits(Options.of(datasets.DatasetDict(train=train, test=test)).sample)
    assert (splits.test.split, splits.test.held_out) == ("train", True)
    assert [note.code for note in splits.notes] == ["split-not-used"]


def test_an_unreadable_test_split_is_an_error(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_dict({"text": texts(40), "label": ["a", "b"] * 20})}
    splits["test"] = splits["train"].select(range(10))
    folder = save(splits, tmp_path / "data")
    Path(folder, "test-00000-of-00001.parquet").write_bytes(b"PAR1 half a file")
    with raises_code("cannot-read-dataset", "split test"):
        load_splits(Options.of(folder, streaming=True, max_samples=30).sample)


def test_evaluations_have_at_most_ten_thousand_rows_of_complete_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _MAX_EVALUATED == 10_000
    monkeypatch.setattr("hf_emms.finetune.splits._MAX_EVALUATED", 6)
    twice = [text for text in texts(60) for _ in range(2)]
    data = datasets.Dataset.from_dict({"text": twice, "label": [row / 7 for row in range(120)]})
    options = {"task": "text-regression"}
    assert [len(part) for part in parts(data, **options).values()] == [108, 6, 6]
    split = datasets.DatasetDict(train=data.select(range(40)), test=data.select(range(40, 60)))
    assert len(parts(split, **options)["test"]) == 6


def test_splits_of_fewer_than_two_rows_are_refused() -> None:
    data = datasets.Dataset.from_dict({"text": texts(11), "label": [row / 7 for row in range(11)]})
    options = {"task": "text-regression"}
    assert [len(part) for part in parts(data, **options).values()] == [7, 2, 2]
    with raises_code("few-rows", "10 rows"):
        load_splits(Options.of(data.select(range(10)), **options).sample)


def test_the_splits_of_a_stream_are_its_first_rows(tmp_path: Path) -> None:
    data = datasets.DatasetDict({"train": colours(40), "test": colours(20, first=40)})
    options = Options.of(save(data, tmp_path / "data"), max_samples=30, streaming=True)
    first = load_splits(options.sample)
    assert len(first.train) + len(first.validation) == 30
    assert len(load_splits(options.replaced(streaming=False).sample).train) == 34
    assert load_splits(options.sample).fingerprint == first.fingerprint


def test_a_test_split_with_the_training_groups_is_not_used() -> None:
    def spoken(split: str, speakers: str) -> datasets.Dataset:
        columns = {"text": [f"{split} {row}" for row in range(len(speakers))], "speaker": [*speakers]}
        return datasets.Dataset.from_dict({**columns, "label": ["x", "y"] * (len(speakers) // 2)})

    def splits(test: str) -> Splits:
        data = datasets.DatasetDict(train=spoken("train", "abcdefghij" * 4), test=spoken("test", test))
        return load_splits(Options.of(data, task="text-classification", group_column="speaker").sample)

    same = splits("abcdefghij")
    assert [note.code for note in same.notes] == ["split-not-used"]
    assert same.test.split == "train"
    half = splits("abcdeklmno")
    assert (half.test.split, len(half.test), len(half.train) + len(half.validation)) == ("test", 10, 20)


def relevant_texts(part: Any) -> set[str]:
    texts = part.inputs.documents
    return {texts[document] for judged in part.references for document, grade in judged if grade > 0}


@pytest.mark.parametrize("task", ["text-retrieval", "text-ranking"])
def test_training_leaves_out_documents_that_answer_held_out_queries(task: str) -> None:
    splits = load_splits(Options.of(dense_search(**CISI), task=task).sample)
    assert sum(map(len, splits.parts.values())) <= 76
    assert len(splits.validation) + len(splits.test) == 26
    assert len(splits.train) > 25
    trained, held_out = relevant_texts(splits.train), relevant_texts(splits.test) | relevant_texts(splits.validation)
    assert trained
    assert not trained & held_out
    assert "documents-shared" in codes(splits.notes)


def test_training_leaves_out_documents_of_the_dataset_s_own_test_queries(tmp_path: Path) -> None:
    tables = dense_search(**NFCORPUS)
    queries = tables["qrels"]["query-id"]
    of_test = {f"q{number}" for number in range(40)}
    (tmp_path / "qrels").mkdir()
    for name in ("corpus", "queries"):
        tables[name].to_json(tmp_path / f"{name}.jsonl")
    for split in ("train", "test"):
        rows = [row for row, query in enumerate(queries) if (query in of_test) == (split == "test")]
        tables["qrels"].select(rows).to_csv(tmp_path / "qrels" / f"{split}.tsv", sep="\t")
    splits = load_splits(Options.of(str(tmp_path), task="text-retrieval").sample)
    assert (len(splits.test), splits.test.split) == (40, "test")
    assert not relevant_texts(splits.train) & (relevant_texts(splits.test) | relevant_texts(splits.validation))


def test_queries_that_share_all_their_documents_cannot_be_trained_on() -> None:
    data = datasets.Dataset.from_dict({"query": [f"who is {row}" for row in range(40)], "document": [["a", "b"]] * 40})
    with raises_code("few-rows"):
        load_splits(Options.of(data, task="text-retrieval").sample)
