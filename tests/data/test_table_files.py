"""Read tables: CSV, Parquet, Arrow, JSON, text files in class folders, and CoNLL."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pytest

from hf_emms.data.files.limits import check_files
from hf_emms.data.files.lines import MAX_LINE
from tests.helpers.rows import CLASSES, COLUMNS, CSV, TEXTS, N, labels_of, png, write
from tests.helpers.samples import load_sample, refused

FRAME = pd.DataFrame(COLUMNS)
ROWS: list[dict[str, str]] = FRAME.to_dict("records")
OTHERS = [{"text": f"other {row['text']}", "label": row["label"]} for row in ROWS]
EXPECTED = {text: [label] for text, label in zip(TEXTS, CLASSES, strict=True)}
Write = Callable[[Path], Any]


def stream_of_arrow(path: Path) -> None:
    table = pa.table(COLUMNS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def written(content: Any) -> Write:
    return lambda path: write(path, content if isinstance(content, str) else json.dumps(content))


LONG = "x" * 200_000 + ","
# Quotation marks that open and never close.
QUOTED = '{}\t{}\t"so\n'
FILES: dict[str, tuple[str, Write]] = {
    "CSV": ("train.csv", written(CSV)),
    "tabs": ("a.tsv", written(CSV.replace(",", "\t"))),
    "Parquet": ("a.parquet", lambda path: FRAME.to_parquet(path)),
    "rows": ("a.json", written(ROWS)),
    "lines in .jsonl": ("a.jsonl", written("\n".join(map(json.dumps, ROWS)))),
    "Feather": ("a.v2.feather", lambda path: FRAME.to_feather(path)),
    "a stream of Arrow": ("a.arrow", stream_of_arrow),
    "lines of JSON": ("a.ndjson", lambda path: FRAME.to_json(path, orient="records", lines=True)),
    "columns": ("a.json", written(COLUMNS)),
    "columns beside a version": ("a.json", written({"version": 2, **COLUMNS})),
    "compressed columns": ("a.v2.json.gz", lambda path: path.write_bytes(gzip.compress(json.dumps(COLUMNS).encode()))),
    "columns of pandas": ("a.json", lambda path: FRAME.to_json(path)),
    "a table of pandas": ("a.json", lambda path: FRAME.to_json(path, orient="table")),
    "rows beside a version": ("a.json", written({"version": "1.0", "data": ROWS})),
    "indented rows": ("a.json", written(json.dumps(ROWS, indent=1))),
    "lines in .json": ("a.json", written("\n".join(map(json.dumps, ROWS)))),
    "cells of 200,000 characters": ("a.csv", written(f"note,text,label\n{LONG}" + LONG.join(CSV.splitlines(True)[1:]))),
    "tabs and quotation marks": ("a.tsv", written("text\tlabel\tnote\n" + "".join(map(QUOTED.format, TEXTS, CLASSES)))),
}


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_table_is_read_from_a_file_and_from_its_folder(tmp_path: Path, form: str, as_folder: bool) -> None:
    name, write_file = FILES[form]
    (tmp_path / "set").mkdir()
    write_file(tmp_path / "set" / name)
    sample = load_sample(str(tmp_path / "set" if as_folder else tmp_path / "set" / name))
    assert (sample.task.id, sample.columns) == ("text-classification", {"text": "text", "label": "label"})
    assert labels_of(sample) == EXPECTED
    assert (sample.split, sample.reading.examples) == ("train", N)


def test_columns_of_json_are_streamed_too(tmp_path: Path) -> None:
    write(tmp_path / "a.json", json.dumps(COLUMNS))
    sample = load_sample(str(tmp_path / "a.json"), streaming=True, max_samples=8)
    assert len(sample) == 8
    assert set(sample.inputs) < set(TEXTS)


def test_splits_are_found_in_folders_of_any_format(tmp_path: Path) -> None:
    for file, write_frame in (("{}/a.feather", "to_feather"), ("{}.json", "to_json")):
        for name, rows in (("train", ROWS), ("test", OTHERS)):
            path = write(tmp_path / write_frame / file.format(name), "")
            getattr(pd.DataFrame(rows), write_frame)(path)
        sample = load_sample(str(tmp_path / write_frame), split="test")
        assert (set(sample.splits), set(sample.inputs)) == ({"train", "test"}, {row["text"] for row in OTHERS})


def test_squads_json_has_a_row_per_question(tmp_path: Path) -> None:
    answers = [[{"text": "Ann", "answer_start": 4 + len(str(i))}] for i in range(N)]
    questions = [[{"id": str(i), "question": f"who {i}?", "answers": answers[i]}] for i in range(N)]
    paragraphs = [{"context": f"In {i} Ann ran home.", "qas": questions[i]} for i in range(N)]
    content = {"version": "1.1", "data": [{"title": "x", "paragraphs": paragraphs}]}
    write(tmp_path / "train.json", json.dumps(content))
    sample = load_sample(str(tmp_path))
    assert sample.task.id == "question-answering"
    assert len(set(sample.groups.tolist())) == N


RAGGED = CSV.replace("text number", "text, number")


@pytest.mark.parametrize(
    ("name", "write_file", "problem", "remedy"),
    [
        ("a.json", written('{"text": ["a'), "JSON parse error", "complete"),
        ("a.csv", lambda path: path.write_bytes("text\ncafé".encode("latin-1")), "codec can't decode", "UTF-8"),
        ("a.csv", written(RAGGED), "row 2 of a.csv has 3 cells", "quote texts"),
        (
            "a.csv",
            written(CSV.replace("number 22,", "number 22, again,")),
            "Expected 2 fields in line 24",
            "quote texts",
        ),
        ("a.csv", written(""), "a.csv is empty", "rows"),
        ("a.csv", written("text,label\n"), "no rows", "split="),
        ("a.jsonl", written('{"text": "' + "a" * MAX_LINE), "64 MB", "one row per line"),
        ("a.csv", written("text,label\n" + "a" * MAX_LINE), "64 MB", "one row per line"),
        ("a.zip", written("an archive"), "a.zip", "complete"),
        ("a.txt", written("one line\nand another"), "a.txt", ".csv"),
        ("a.conll", written("Ann B-PER\nruns"), "a.conll", '"ner_tags"'),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_file_that_is_not_a_table_is_refused_with_a_hint(
    tmp_path: Path, name: str, write_file: Write, problem: str, remedy: str, streaming: bool
) -> None:
    write_file(tmp_path / name)
    error = refused(str(tmp_path / name), streaming=streaming, max_samples=10)
    assert problem in error.message
    assert remedy in str(error.hint)


def test_a_list_in_json_may_be_one_long_line(tmp_path: Path) -> None:
    write(tmp_path / "a.json", json.dumps([*ROWS, {"text": "x" * MAX_LINE, "label": "cat"}]))
    check_files(tmp_path / "a.json")


def test_every_csv_file_of_a_split_is_checked_for_its_number_of_cells(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", CSV)
    write(tmp_path / "b.csv", RAGGED)
    assert "row 2 of b.csv" in refused(str(tmp_path)).message


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_index_of_a_saved_table_is_not_a_text_or_label(tmp_path: Path, in_memory: bool) -> None:
    frame = FRAME.sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet")
    sample = load_sample(datasets.Dataset.from_pandas(frame) if in_memory else str(tmp_path / "a.parquet"))
    assert sample.columns == {"text": "text", "label": "label"}


def test_tars_in_the_webdataset_format_are_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        with tarfile.open(tmp_path / f"{split}-0000.tar", "w") as tar:
            for i in range(N):
                for suffix, content in (("png", png((i, 0, 0))), ("cls", str(i % 2).encode())):
                    member = tarfile.TarInfo(f"./{i:04}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    for path in (tmp_path, tmp_path / "train-0000.tar"):
        sample = load_sample(str(path), columns={"label": "cls"})
        assert (sample.task.id, sample.columns["image"], len(sample)) == ("image-classification", "png", N)


# ---- texts ---------------------------------------------------------------------------------------------------------


def test_text_files_in_class_folders_are_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("pos", "neg", "unsup"):
            for i in range(4 if name != "unsup" else 2):
                write(tmp_path / split / name / f"{i}_7.txt", f"{split} {name} review {i}\n\nIts second part.")
    write(tmp_path / "train" / "urls_pos.txt", "http://x.org")
    write(tmp_path / "README.md", "# Reviews of films\n")
    sample = load_sample(str(tmp_path))
    assert (sample.split, set(sample.splits), sample.label_texts) == ("train", {"train", "test"}, ("neg", "pos"))
    assert len(sample) == 8
    assert "train pos review 3\n\nIts second part." in sample.inputs


def test_a_text_in_a_class_folder_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    write(tmp_path / "pos" / "1.txt", "good")
    assert "1 .txt" in refused(str(tmp_path)).message, "a folder alone is not a class"
    write(tmp_path / "neg" / "1.txt", "café".encode("latin-1"))
    assert "UTF-8" in str(refused(str(tmp_path)).hint)


CONLL = "".join(
    f"EU{i} NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n" if i % 2 else f"Ann NNP B-NP B-PER\nsleeps{i} VB B-VP O\n\n"
    for i in range(N)
)
FIELDS = "\t_" * 6 + "\n"
CONLLU = "".join(f"# {i}\n1\tAnn{i}\tAnn\tPROPN{FIELDS}2\truns\trun\tVERB{FIELDS}\n" for i in range(N))
WORDS: dict[str, tuple[str, str, str, str]] = {
    "CoNLL-2003": ("eng.conll", "-DOCSTART- -X- -X- O\n\n" + CONLL, "ner_tags", "pos_tags chunk_tags"),
    "a .txt file": ("train.txt", CONLL, "ner_tags", "pos_tags chunk_tags"),
    "two columns": ("a.iob2", "".join(f"Ann{i}\tB-PER\n#runs\tO\n\n" for i in range(N)), "ner_tags", ""),
    "three columns": ("a.iob", "".join(f"Ann{i} _ B-PER\n#runs _ O\n\n" for i in range(N)), "ner_tags", "column_2"),
    "comments": ("a.bio", "".join(f"# id = {i}\nAnn{i}\tB-PER\n#runs\tO\n\n" for i in range(N)), "ner_tags", ""),
    "CoNLL-U": ("a.conllu", CONLLU, "upos", "position lemma xpos features head relation deps misc"),
}


@pytest.mark.parametrize("form", WORDS)
@pytest.mark.parametrize("as_folder", [False, True])
def test_conll_files_are_read(tmp_path: Path, form: str, as_folder: bool) -> None:
    name, content, tags, unused = WORDS[form]
    (tmp_path / name).write_text(content)
    sample = load_sample(str(tmp_path if as_folder else tmp_path / name))
    assert (sample.task.id, sample.columns) == ("token-classification", {"tokens": "tokens", "tags": tags})
    assert sample.unused_columns == tuple(unused.split())
    assert (sample.n_read, sample.inputs.bounds.shape[0] <= 2 * N) == (N, True)


def test_a_folder_of_save_to_disk_is_read(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(OTHERS)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path)
    assert labels_of(load_sample(str(tmp_path))) == EXPECTED
