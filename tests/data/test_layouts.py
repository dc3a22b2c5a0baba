"""Layouts that other tools write: webdatasets, AutoTrain, Kaggle, doccano, arrays of pixels, splits in a JSON file."""

from __future__ import annotations

import io
import json
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from tests import ROOT
from tests.data.test_shapes import csv_of, kaggle, table
from tests.docs.pages import fences
from tests.helpers.rows import CLASSES, CSV, TEXTS, N, pictures, png, write
from tests.helpers.samples import codes, load_sample, refused
from tests.helpers.sound import encoded, tone

PIXELS = np.arange(N * 8 * 8 * 3, dtype=np.uint8).reshape(N, 8, 8, 3)
FIELDS = ("text", "label")
ROWS = [dict(zip(FIELDS, row, strict=True)) for row in zip(TEXTS, CLASSES, strict=True)]


def webdataset(path: Path, **files: list[bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for number in range(N):
            for suffix, contents in files.items():
                member = tarfile.TarInfo(f"{number:05}.{suffix}")
                member.size = len(contents[number])
                archive.addfile(member, io.BytesIO(contents[number]))
    return str(path)


def read_as(dataset: Any, **settings: Any) -> list[Any]:
    sample = load_sample(dataset, **settings)
    return [sample.task.id, dict(sample.columns), len(sample)]


def test_webdatasets_of_images_with_json_and_of_sounds_with_texts_are_read(tmp_path: Path) -> None:
    sounds = [encoded(tone(200 + 10 * i)) for i in range(N)]
    labels = [json.dumps({"label": name, "width": 8}).encode() for name in CLASSES]
    of_images = webdataset(tmp_path / "images.tar", png=pictures(N), json=labels)
    assert read_as(of_images) == ["image-classification", {"image": "png", "label": "json.label"}, N]
    said = [text.encode() for text in TEXTS]
    of_sounds = webdataset(tmp_path / "sounds.tar", wav=sounds, txt=said)
    assert read_as(of_sounds) == ["automatic-speech-recognition", {"audio": "wav", "text": "txt"}, N]


def test_targets_of_texts_are_classes_as_in_autotrain(tmp_path: Path) -> None:
    expected = ["text-classification", {"text": "text", "label": "target"}, N]
    assert read_as(csv_of("text,target", TEXTS, CLASSES)(tmp_path)) == expected


def test_lists_of_rows_named_as_splits_are_splits(tmp_path: Path) -> None:
    for content in ({"train": ROWS}, {"test": ROWS[:10], "train": ROWS}):
        file = write(tmp_path / "rows.json", json.dumps(content))
        assert read_as(str(file)) == ["text-classification", {"text": "text", "label": "label"}, N]
    assert read_as(str(file), split="test")[2] == 10


def test_arrays_of_pixels_are_images() -> None:
    expected = ["image-classification", {"image": "image", "label": "label"}, N]
    declared = datasets.Features(image=datasets.Array3D((8, 8, 3), "uint8"), label=datasets.Value("string"))
    rows = {"image": PIXELS, "label": CLASSES}
    samples = [
        load_sample(data)
        for data in (rows, {**rows, "image": list(PIXELS)}, datasets.Dataset.from_dict(rows, features=declared))
    ]
    for sample in samples:
        assert [sample.task.id, dict(sample.columns), len(sample)] == expected
        assert {np.asarray(image).tobytes() for image in sample.inputs} == {image.tobytes() for image in PIXELS}


def test_an_id_is_offered_as_the_label_only_if_nothing_else_can_be_it(tmp_path: Path) -> None:
    folder = kaggle([f"p{i}.png" for i in range(N)], "Image,Id")(tmp_path)
    error = refused(folder)
    assert error.code == "unclear-columns"
    assert 'image_column="Image", label_column="Id"' in str(error.hint)
    urls = table({"text": TEXTS, "url": CLASSES})(tmp_path)
    assert "label = url" not in str(refused(urls).hint)


def test_a_folder_with_a_copy_of_itself_is_refused_with_the_copys_name(tmp_path: Path) -> None:
    for top in (tmp_path / "chest", tmp_path / "chest" / "chest_xray"):
        for number in range(8):
            for split in ("train", "test"):
                write(top / split / CLASSES[number] / f"{number}.png", png((number, 0, 0)))
    error = refused(str(tmp_path / "chest"))
    assert (error.code, "chest_xray" in str(error.hint)) == ("no-labels", True)
    assert read_as(str(tmp_path / "chest" / "chest_xray"))[2] == 8


def test_messages_whose_content_is_a_list_of_parts_are_read(tmp_path: Path) -> None:
    def message(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}]}

    lines = [json.dumps({"messages": [message("user", text), message("assistant", text.upper())]}) for text in TEXTS]
    sample = load_sample(str(write(tmp_path / "chats.jsonl", "\n".join(lines))))
    assert sample.task.id == "text-generation"
    assert set(sample.label_texts) == {text.upper() for text in TEXTS}
    assert sample.inputs[0][0].text in TEXTS


def test_messages_with_other_parts_than_texts_are_skipped(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "what is this?"}, {"type": "image", "text": None}]
    chat = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": parts[:1]}]}
    error = refused(str(write(tmp_path / "chats.jsonl", "\n".join([json.dumps(chat)] * N))))
    assert error.code in ("rows-unusable", "unclear-columns")


def test_a_folder_of_three_csv_files_is_a_search(tmp_path: Path) -> None:
    def of(header: str, rows: list[str]) -> str:
        return "\n".join([header, *rows])

    write(tmp_path / "corpus.csv", of("_id,title,text", [f"d{i},a title,{TEXTS[i]} of a document" for i in range(N)]))
    write(tmp_path / "queries.csv", of("_id,text", [f"q{i},{TEXTS[i]}" for i in range(N)]))
    write(tmp_path / "qrels.csv", of("query-id,corpus-id,score", [f"q{i},d{i},1" for i in range(N)]))
    columns = {"query": "text", "document": "title,text", "relevance": "score"}
    assert read_as(str(tmp_path)) == ["text-retrieval", columns, N]


@pytest.mark.parametrize("empty", [0, 8])
def test_an_empty_list_has_none_of_the_classes_and_a_null_has_no_label(empty: int) -> None:
    labels: list[Any] = [[] if i < empty else ["a", "b"][: 1 + i % 2] for i in range(N)]
    labels[-1] = None
    sample = load_sample({"text": TEXTS, "labels": labels})
    assert ("none" in sample.label_texts) == (empty > 0)
    assert (len(sample), sample.skipped) == (N - 1, 1)
    assert sample.reading is not None
    assert sample.reading.columns[1].classes.get("none", 0) == empty


def test_offsets_of_doccano_are_starts_and_ends(tmp_path: Path) -> None:
    entity = {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 4}
    row = {"entities": [entity], "relations": [{"id": 1, "from_id": 1, "to_id": 1, "type": "is"}], "Comments": []}
    lines = (json.dumps({"id": i, "text": text, **row}) for i, text in enumerate(TEXTS))
    file = str(write(tmp_path / "doccano.jsonl", "\n".join(lines)))
    sample = load_sample(file)
    assert (sample.task.id, sample.columns["entities"]) == ("span-classification", "entities.label")
    assert sample.label_texts == ("no entity", "person")


COCO = {
    "images": [{"id": i, "file_name": f"{i}.png"} for i in range(N)],
    "annotations": [{"image_id": i, "category_id": i % 2} for i in range(N)],
    "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
}
MARK = {"value": {"start": 0, "end": 4, "labels": ["PER"]}}
STUDIO = [{"id": i, "data": {"text": TEXTS[i]}, "annotations": [{"result": [MARK]}]} for i in range(N)]


@pytest.mark.parametrize(
    ("name", "content", "code", "advice"),
    [
        ("instances.json", json.dumps(COCO), "other-format", "docs/tasks.md"),
        ("export.json", json.dumps(STUDIO), "unclear-columns", "docs/recipe-entities.md"),
        ("title.csv", "Export of May\n" + CSV, "malformed-file", "remove line 1"),
        ("excel.csv", "sep=,\n" + CSV, "malformed-file", "remove line 1"),
        ("wide.csv", CSV.encode("utf-16"), "cannot-read", "UTF-8"),
        ("reviews.xlsx", b"PK\3\4", "no-data-files", "read_excel"),
        ("classes.tar.gz", b"\x1f\x8b", "no-data-files", "unpack"),
    ],
)
def test_files_of_other_formats_are_refused_with_the_way_to_convert_them(
    tmp_path: Path, name: str, content: str | bytes, code: str, advice: str
) -> None:
    error = refused(str(write(tmp_path / name, content)))
    assert (error.code, advice in str(error.hint)) == (code, True)


def test_an_archive_of_class_folders_must_be_unpacked(tmp_path: Path) -> None:
    file = webdataset(tmp_path / "classes.tar", png=pictures(N))
    error = refused(file)
    assert (error.code, "unpack" in str(error.hint)) == ("no-labels", True)


def test_a_table_of_a_search_is_refused_with_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "queries.jsonl", json.dumps({"_id": "q", "text": "a query"}))
    corpus = write(tmp_path / "corpus.jsonl", "\n".join(json.dumps({"_id": text, "text": text}) for text in TEXTS))
    error = refused(str(corpus))
    assert (error.code, f'dataset="{tmp_path}"' in str(error.hint)) == ("part-of-search", True)


def test_the_converters_of_the_pages_write_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, picture in enumerate(pictures(N)):
        write(tmp_path / "images" / f"{number}.png", picture)
    write(tmp_path / "instances.json", json.dumps(COCO))
    write(tmp_path / "export.json", json.dumps(STUDIO))
    encoded = [b64encode(picture).decode() for picture in pictures(N)]
    write(
        tmp_path / "photos.csv", "image,label\n" + "".join(f"{a},{b}\n" for a, b in zip(encoded, CLASSES, strict=True))
    )
    for block in [*fences(ROOT / "docs" / "tasks.md", "py"), fences(ROOT / "docs" / "recipe-entities.md", "py")[1]]:
        exec(block, {})
    assert read_as("images") == ["image-classification", {"image": "image", "label": "labels"}, N]
    assert read_as("decoded.csv") == ["image-classification", {"image": "image", "label": "label"}, N]
    assert read_as("my_entities.jsonl")[:1] == ["span-classification"]


def test_images_without_a_line_in_the_metadata_are_counted(tmp_path: Path) -> None:
    for number, picture in enumerate(pictures(N)):
        write(tmp_path / f"{number}.png", picture)
    lines = [json.dumps({"file_name": f"{i}.png", "label": CLASSES[i]}) for i in range(10)]
    write(tmp_path / "metadata.jsonl", "\n".join(lines))
    sample = load_sample(str(tmp_path))
    assert codes(sample) == ["files-not-read"]
    assert f"{N - 10} of {N} files" in sample.notes[0].text


def test_the_preview_shows_duplicates_conversions_and_spans() -> None:
    def facts(dataset: Any, **settings: Any) -> str:
        reading = load_sample(dataset, **settings).reading
        return " ".join(reading.facts) if reading is not None else ""

    assert "12 duplicates" in facts({"text": TEXTS[:12] * 2, "label": ["a", "b"] * 12})
    assert "duplicate" not in facts({"text": TEXTS, "label": CLASSES})
    shares = {"text": TEXTS, "score": [f"{i},5 %" for i in range(N)]}
    assert ",5 %' is " in facts(shares, task="text-regression")
    several = {"text": TEXTS, "label": ["a|b", "a"] * 12}
    assert "'|'" in facts(several, label_separator="|")
    spans = {"text": TEXTS, "entities": [[{"start": 5, "end": 11, "label": "PER"}]] * N}
    assert "'number' (PER)" in facts(spans)


def test_classes_that_differ_only_in_case_or_spaces_are_all_shown() -> None:
    names = ["New York", "new york", *"abcdefgh", "newyork"]
    rows = {"text": [f"text {i}" for i in range(220)], "label": [names[i % 11] for i in range(220)]}
    reading = load_sample(rows).reading
    assert reading is not None
    assert {"New York", "new york", "newyork"} <= reading.columns[1].classes.keys()
