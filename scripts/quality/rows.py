"""Rows in three splits: drawn, written as a Hub dataset folder, and read back."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, ClassLabel, Dataset, Features, List, Value, load_dataset
from datasets import Image as ImageFeature
from PIL import Image

from scripts.quality.protocol import TEST_ROWS, TRAIN_ROWS, VALIDATION_ROWS

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Columns of one split, and the class names where labels are classes."""

    columns: dict[str, list]
    classes: tuple[str, ...] = ()


Table = dict[str, Split]


def hub_rows(repo: str, config: str, split: str) -> Dataset:
    """Rows of a Hub dataset; from parquet copies under HF_EMMS_QUALITY_ROWS where that is set.

    Args:
        repo: dataset id; a copy is expected in OWNER--NAME/CONFIG/ with files that begin with the split's name, or
            in a folder of that name.
        config: the configuration.
        split: the split.
    """
    copies = os.environ.get("HF_EMMS_QUALITY_ROWS")
    if copies is None:
        return load_dataset(repo, config, split=split)
    folder = Path(copies) / repo.replace("/", "--") / config
    files = sorted(
        str(path) for pattern in (f"{split}-*.parquet", f"{split}/*.parquet") for path in folder.glob(pattern)
    )
    return Dataset.from_parquet(files)


def split_rows(
    rows: dict[str, list],
    *,
    classes: Sequence[str] = (),
    seed: int,
    shares: tuple[float, float, float] | None = None,
    counts: tuple[int, int, int] = (TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS),
    group: str | None = None,
) -> Table:
    """Draw three splits that share no input.

    Args:
        rows: columns, the input first; "label" holds class ids.
        classes: their names.
        seed: of the draw.
        shares: of all rows, instead of `counts`.
        counts: numbers of rows.
        group: a column whose equal rows stay in one split; by default, only the first row of an input is used.
    """
    values = next(iter(rows.values())) if group is None else rows[group]
    keys = [value["bytes"] if isinstance(value, dict) else value for value in values]
    members: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        members.setdefault(key, []).append(row)
    groups = [own if group else own[:1] for own in members.values()]
    order = [row for i in np.random.default_rng(seed).permutation(len(groups)) for row in groups[i]]
    sizes = [int(share * len(order)) for share in shares] if shares else list(counts)
    ends = [_whole_groups(end, order, keys) for end in np.cumsum(sizes)]
    parts = np.split(np.array(order[: ends[-1]]), ends[:-1])
    return {
        name: Split({column: [values[i] for i in part] for column, values in rows.items()}, tuple(classes))
        for name, part in zip(SPLITS, parts, strict=True)
    }


def _whole_groups(end: int, order: list[int], keys: list) -> int:
    """The first place from `end` on where no group is cut."""
    while 0 < end < len(order) and keys[order[end]] == keys[order[end - 1]]:
        end += 1
    return min(int(end), len(order))


def png(image: Image.Image) -> dict[str, bytes]:
    """A cell of an image column."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return {"bytes": buffer.getvalue()}


def write(folder: Path, table: Table) -> None:
    """Write parquet files with features, laid out as on the Hub."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, split in table.items():
        features = Features({column: _feature(column, split) for column in split.columns})
        dataset = Dataset.from_dict(split.columns, features=features)
        if "audio" in split.columns:
            # Given as a feature, it would decode every clip, which needs torchcodec.
            dataset = dataset.cast_column("audio", Audio())
        dataset.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")


def _feature(column: str, split: Split) -> Any:
    if column == "image":
        return ImageFeature()
    if column == "audio":
        return {"bytes": Value("binary"), "path": Value("string")}
    if column == "box":
        return List(Value("float32"))
    if column == "score":
        return Value("float64")
    if column == "tokens":
        return List(Value("string"))
    if column == "tags":
        return List(ClassLabel(names=list(split.classes)))
    if column == "answers":
        return {"text": List(Value("string")), "answer_start": List(Value("int32"))}
    return ClassLabel(names=list(split.classes)) if column == "label" else Value("string")
