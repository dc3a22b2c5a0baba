"""Open datasets in all supported forms, their splits, and streams."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_emms import data
from hf_emms.data import open_dataset
from hf_emms.errors import Note
from hf_emms.options import SampleOptions
from tests.helpers.hub_client import run
from tests.helpers.rows import CSV, labels_of, pictures, png, texts, write, write_text_file
from tests.helpers.samples import codes, load_sample, refused
from tests.hub import Hub


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def parquet(word: str) -> bytes:
    """Eight texts that start with a word, and labels a and b."""
    return parquet_of([{"text": f"{word} {i}", "label": "ab"[i % 2]} for i in range(8)])


# ---- the forms a dataset comes in -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_pictures_with_captions_in_a_metadata_file_are_read(tmp_path: Path, name: str) -> None:
    for i in range(12):
        write(tmp_path / f"{i}.png", png((i, 0, 0)))
    rows = [(f"{i}.png", f"A Picture, number {i}") for i in range(9)]
    if name.endswith("csv"):
        lines = ["file_name,caption", *(f'{file},"{text}"' for file, text in rows)]
    else:
        lines = [json.dumps({"file_name": file, "caption": text}) for file, text in rows]
    write(tmp_path / name, "\n".join(lines) + "\n")
    sample = load_sample(str(tmp_path))
    assert (sample.task.id, len(sample)) == ("image-to-text", 9)
    assert labels_of(sample)[3, 0, 0] == ["a picture, number 3"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_split_is_read_without_the_files_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", parquet(split))
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)  # seconds after each stream of Parquet
    read: list[Any] = []
    load = datasets.load_dataset_builder
    monkeypatch.setattr(
        datasets, "load_dataset_builder", lambda *a, **k: read.append([*k["data_files"]]) or load(*a, **k)
    )
    options = SampleOptions(str(tmp_path), streaming=streaming, max_samples=6)
    source = open_dataset(options)
    train = data.load_sample(options, source=source)
    test = data.load_sample(dataclasses.replace(options, split="test"), source=source)
    again = data.load_sample(options, source=source)
    assert (train.split, test.split) == ("train", "test")
    assert {text.split()[0] for text in test.inputs} == {"test"}
    assert (again.fingerprint, again.notes) == (train.fingerprint, train.notes)
    assert read == [["train"], ["test"], ["train"]]


def test_a_card_keeps_configurations_apart(tmp_path: Path) -> None:
    for config, label in (("easy", "yes"), ("hard", "perhaps")):
        rows = [{"sentence": f"{config} {i}", "label": label if i % 2 else "no"} for i in range(4)]
        write(tmp_path / config / "train-00000-of-00001.parquet", parquet_of(rows))
    readme = "---\nconfigs:\n" + "".join(f"- config_name: {c}\n  data_files: {c}/*.parquet\n" for c in ("easy", "hard"))
    (tmp_path / "README.md").write_text(readme + "---\n")
    assert load_sample(str(tmp_path), config="easy").label_texts == ("no", "yes")
    error = refused(str(tmp_path))
    assert "easy" in error.message
    assert "config=" in str(error.hint)


def test_images_in_parquet_files_without_declared_types_are_recognized(tmp_path: Path) -> None:
    structs = [{"image": {"bytes": b, "path": None}, "label": "ab"[i % 2]} for i, b in enumerate(pictures(4))]
    binary = [{"img": b, "label": "ab"[i % 2]} for i, b in enumerate(pictures(4))]
    for name, rows in (("struct", structs), ("binary", binary)):
        sample = load_sample(str(write(tmp_path / f"{name}.parquet", parquet_of(rows))))
        assert (sample.task.id, sample.inputs[0].size) == ("image-classification", (8, 6))


def test_a_hub_dataset_is_read_over_http_at_its_pinned_revision(hub: Hub, tmp_path: Path) -> None:
    readme = b"---\nlicense: mit\n---\n"
    files = {"README.md": readme, "data/train-00000-of-00001.parquet": parquet("main")}
    main = hub.store.put_files("org/texts", files, "dataset")
    files["data/train-00000-of-00001.parquet"] = parquet("converted")
    hub.store.put_files("org/texts", files, "dataset", ref="refs/convert/parquet")
    hub.store.put_files("org/texts", {"README.md": readme}, "dataset", ref="v2")
    code = """
        from datasets import config
        from hf_emms.data import load_sample
        from hf_emms.options import SampleOptions
        config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
        targets = [load_sample(SampleOptions(id, streaming=s, max_samples=4)) for id, s in {calls}]
        print(json.dumps([
            *([t.repo.revision, sorted(t.inputs), t.label_texts, t.split] for t in targets),
            report(lambda: load_sample(SampleOptions("{absent}"))),
            bool(resolve("org/texts@v2", "dataset")),
        ]))
        """
    calls = [("org/texts", False), ("org/texts@refs/convert/parquet", False), ("org/texts", True)]
    on_main, converted, streamed, gone, _ = run(code.format(calls=calls, absent="flickr8k"), hub, tmp_path)
    asked = len(hub.requests)
    offline = run(code.format(calls=calls[:2], absent="org/texts@v2"), hub, tmp_path, HF_HUB_OFFLINE="1")
    assert len(hub.requests) == asked
    assert offline[:2] == [on_main, converted]
    assert "not in the local cache" in offline[2]["message"]
    assert on_main[0] == streamed[0] == main
    assert on_main[1][0].startswith("main ")
    assert on_main[2:] == [["a", "b"], "train"]
    assert converted[1][0].startswith("converted ")
    assert streamed[1][0].startswith("main ")
    assert gone["error"] == "RepoNotFoundError"
    assert "jxie/flickr8k" in gone["message"]


def test_missing_splits_of_presets_are_reported(hub: Hub, tmp_path: Path) -> None:
    news = parquet_of([{"headline": f"headline {i}", "label": "ab"[i % 2]} for i in range(4)])
    hub.store.put_files("fancyzhx/ag_news", {"data/train-00000-of-00001.parquet": news}, "dataset")
    hub.store.put_files("stanfordnlp/imdb", {"data/test-00000-of-00001.parquet": news}, "dataset")
    code = """
        from hf_emms.data import load_sample
        from hf_emms.options import SampleOptions
        print(json.dumps([
            report(lambda: load_sample(SampleOptions("imdb"))),
            len(load_sample(SampleOptions("ag_news", columns={"text": "headline"}))),
        ]))
        """
    split, named = run(code, hub, tmp_path / "home")
    assert "'stanfordnlp/imdb' has no split 'train'" in split["message"]
    assert "test" in split["hint"]
    assert named == 4


ID = "ORG/NAME"


@pytest.mark.parametrize(
    ("dataset", "hint"),
    [(42, "preset"), ("no such thing!", ID), ("./absent", ID), ("", ID), ("~nobody-of-this-name/x", ID)],
)
def test_values_that_are_not_datasets_are_refused_with_a_hint(dataset: Any, hint: str) -> None:
    assert hint in str(refused(dataset).hint)


def test_errors_of_unreadable_paths_list_the_readable_formats(tmp_path: Path) -> None:
    assert "parquet" in str(refused(str(tmp_path)).hint)
    assert ".parquet" in str(refused(str(write(tmp_path / "data.xyz", "x"))).hint)
    assert "broken.parquet" in refused(str(write(tmp_path / "broken.parquet", b"PAR1 but not really"))).message


# ---- splits, tasks, columns -----------------------------------------------------------------------------------


def test_the_split_to_fine_tune_on_is_chosen_with_a_note() -> None:
    splits = {"test": texts(4, ["a", "b"]), "validation": texts(6, ["a", "b"]), "train": texts(8, ["a", "b"])}
    sample = load_sample(datasets.DatasetDict(splits))
    assert (sample.split, len(sample)) == ("train", 8)
    assert "split-chosen" in [note.code for note in sample.notes if isinstance(note, Note)]
    assert len(load_sample(datasets.DatasetDict(splits), split="test")) == 4
    del splits["train"]
    assert load_sample(datasets.DatasetDict(splits)).split == "validation"
    assert 'split="test" or "validation"' in str(refused(datasets.DatasetDict(splits), split="dev").hint)


# ---- streams --------------------------------------------------------------------------------------------------


def counted(n: int, read: list[int]) -> datasets.IterableDataset:
    def rows() -> Any:
        for i in range(n):
            read.append(i)
            yield {"text": f"text {i}", "label": i % 3}

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    return datasets.IterableDataset.from_generator(rows, features=features)


def test_a_stream_is_read_only_as_far_as_required() -> None:
    read: list[int] = []
    sample = load_sample(counted(100_000, read), max_samples=90)
    assert len(sample) == 90
    assert len(read) < 1_000, "a buffer of 500 rows"
    assert sample.reading.examples is None
    assert codes(sample) == ["streamed"]
    assert "the first 100 rows" in str(sample.notes[-1])


def test_the_first_rows_of_a_stream_of_files_are_read_once(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "README.md", "---\ndataset_info:\n  splits: [{name: train, num_examples: 24}]\n---\n")
    options = SampleOptions(str(tmp_path), streaming=True, max_samples=8)
    source = open_dataset(options)
    sample = data.load_sample(options, source)
    assert sample.reading.examples == 24, "the card has the number of rows"
    (tmp_path / "train.csv").unlink()
    assert data.load_sample(options, source).fingerprint == sample.fingerprint


def test_a_stream_requires_a_number_of_rows() -> None:
    hint = str(refused(counted(10, [])).hint)
    assert hint == "add max_samples=1000, or remove streaming"


def test_the_types_of_a_stream_may_be_inferred_from_its_rows(tmp_path: Path) -> None:
    write_text_file(tmp_path / "train.jsonl")
    sample = load_sample(str(tmp_path / "train.jsonl"), streaming=True, max_samples=4)
    assert (sample.task.id, len(sample)) == ("text-classification", 4)
    pictured = counted(30, []).map(lambda row: {**row, "label": f"class_{row['label']}"})
    assert load_sample(pictured, max_samples=12).label_texts == ("class 0", "class 1", "class 2")


def test_a_hub_dataset_may_not_refer_to_files_outside_its_repository(hub: Hub, tmp_path: Path) -> None:
    private = write(tmp_path / "private" / "mine.csv", CSV).parent
    hub.store.put_files("org/others", {"data/train.csv": CSV}, "dataset")
    for id, place in (("org/local", f"{private}/*.csv"), ("org/remote", "hf://datasets/org/others@main/data/*.csv")):
        readme = f"---\nconfigs:\n- config_name: default\n  data_files: {place!r}\n---\n"
        hub.store.put_files(id, {"README.md": readme, "data/train.csv": CSV}, "dataset")
    code = """
        from hf_emms.data import load_sample
        from hf_emms.options import SampleOptions
        ids = ("org/local", "org/remote")
        print(json.dumps({id: report(lambda: load_sample(SampleOptions(id))) for id in ids}))
        """
    for error in run(code, hub, tmp_path / "home").values():
        assert "don't belong to" in error["message"]
