"""Small datasets for tests, and helpers that inspect the samples of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_emms.data import Sample
from hf_emms.errors import EmmsError

N = 24
TEXTS = [f"text number {i}" for i in range(N)]
CLASSES = ["cat", "dog"] * (N // 2)
COLUMNS = {"text": TEXTS, "label": CLASSES}
CSV = "text,label\n" + "".join(f"{text},{name}\n" for text, name in zip(TEXTS, CLASSES, strict=True))


def png(color: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "png")
    return buffer.getvalue()


def pictures(n: int) -> list[bytes]:
    return [png((i % 256, i // 256, 7)) for i in range(n)]


def image_rows(encoded: list[bytes], **columns: list[Any]) -> datasets.Dataset:
    rows = datasets.Dataset.from_dict({"image": [{"bytes": b, "path": None} for b in encoded], **columns})
    return rows.cast_column("image", datasets.Image())


THINGS = ("harbour", "old mountain road", "cat", "green boat", "mat")


def answered(n: int = 20, **columns: Any) -> datasets.Dataset:
    """Return rows in SQuAD's format with two questions per context. The answer is one of `THINGS`."""
    kinds = [THINGS[i // 2 % len(THINGS)] for i in range(n)]
    contexts = [f"In {i // 2} years, people see the {kind}; then they go home." for i, kind in enumerate(kinds)]
    answers = [{"text": [k], "answer_start": [c.index(k)]} for k, c in zip(kinds, contexts, strict=True)]
    rows = {"context": contexts, "question": [f"what is {i}?" for i in range(n)], "answers": answers}
    return datasets.Dataset.from_dict(rows | columns)


def texts(n: int, classes: list[str], **more: Any) -> datasets.Dataset:
    columns = {"text": [f"text number {i}" for i in range(n)], "label": [classes[i % len(classes)] for i in range(n)]}
    return datasets.Dataset.from_dict({**columns, **more})


def labels_of(target: Sample) -> dict[Any, list[str]]:
    """Return input (a text, or the first pixel) → label texts of its rows."""
    found: dict[Any, list[str]] = {}
    for row, code in enumerate(target.codes):
        value = target.inputs[int(target.input_of_row[row])]
        key = value if isinstance(value, str) else value.getpixel((0, 0))
        found.setdefault(key, []).append(target.label_texts[code])
    return found


def error_of(call: Callable[[], Any]) -> EmmsError:
    with pytest.raises(EmmsError) as caught:
        call()
    return caught.value


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def class_folders(folder: Path, *names: str, suffix: str = "png") -> Path:
    """Write a folder with four images per subfolder; "x/y" is a nested folder."""
    for number, name in enumerate(names):
        for i in range(4):
            write(folder / name / f"{i}.{suffix}", png((i, number, 0)))
    return folder


def write_text_file(path: Path) -> None:
    rows = [{"text": f"text {i}", "label": ["ham", "spam_mail"][i % 2]} for i in range(6)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["text", "label"], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
