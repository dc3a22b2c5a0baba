"""Rows in three splits: read from the Hub, drawn, and written as a Hub dataset folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, ClassLabel, Dataset, Features, List, Value, load_dataset
from datasets import Image as ImageFeature

from scripts.quality.pools import TEST_ROWS, TRAIN_ROWS, VALIDATION_ROWS

SPLITS = ("train", "validation", "test")
# Columns that hold neither texts nor classes.
_FEATURES = {
    "image": ImageFeature(),
    "audio": {"bytes": Value("binary"), "path": Value("string")},
    "box": List(Value("float32")),
    "score": Value("float64"),
    "tokens": List(Value("string")),
    "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
}


@dataclass(frozen=True)
class Split:
    """Columns of one split, and the class names where labels are classes."""

    columns: dict[str, list]
    classes: tuple[str, ...] = ()


Table = dict[str, Split]


def hub_rows(repo: str, config: str, split: str) -> Dataset:
    """Return rows of a Hub dataset; from parquet copies under HF_EMMS_QUALITY_ROWS where that is set.

    Args:
        repo: dataset id; a copy is expected in OWNER--NAME/CONFIG/ with files that begin with the split's name, or
            in a folder of that name.
        config: the configuration.
        split: the split.
    """
    if "HF_EMMS_QUALITY_ROWS" not in os.environ:
        return load_dataset(repo, config, split=split)
    folder = rows_folder(repo) / config
    patterns = (f"{split}-*.parquet", f"{split}/*.parquet")
    return Dataset.from_parquet(sorted(str(path) for pattern in patterns for path in folder.glob(pattern)))


def rows_folder(repo: str) -> Path:
    """Return the folder OWNER--NAME of a dataset under HF_EMMS_QUALITY_ROWS.

    Raises:
        FileNotFoundError: it is not there.
    """
    name = repo.replace("/", "--")
    folder = Path(os.environ.get("HF_EMMS_QUALITY_ROWS", "")) / name
    if "HF_EMMS_QUALITY_ROWS" not in os.environ or not folder.is_dir():
        raise FileNotFoundError(f"{repo} needs HF_EMMS_QUALITY_ROWS, the folder that holds {name}")
    return folder


def hub_columns(repo: str, config: str, splits: Sequence[str], columns: Mapping[str, str]) -> dict[str, list]:
    """Return columns of several splits of a Hub dataset, one after the other.

    Args:
        repo: as `hub_rows` takes it, as is `config`.
        config: the configuration.
        splits: the splits.
        columns: name of a column → the Hub's name for it.
    """
    parts = [hub_rows(repo, config, split) for split in splits]
    return {name: [value for part in parts for value in part[column]] for name, column in columns.items()}


def split_rows(
    rows: dict[str, list],
    *,
    classes: Sequence[str] = (),
    seed: int,
    shares: tuple[float, float, float] | None = None,
    counts: tuple[int, int, int] = (TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS),
    group: str | None = None,
    left_out: str | None = None,
) -> Table:
    """Draw three splits that share no input.

    Args:
        rows: columns, the input first; "label" holds class ids.
        classes: their names.
        seed: of the draw.
        shares: of all rows, instead of `counts`.
        counts: numbers of rows.
        group: a column whose equal rows stay in one split; by default, only the first row of an input is used.
        left_out: a column that the splits do not have.
    """
    values = next(iter(rows.values())) if group is None else rows[group]
    keys = [value["bytes"] if isinstance(value, dict) else value for value in values]
    members: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        members.setdefault(key, []).append(row)
    groups = [places if group else places[:1] for places in members.values()]
    order = [row for i in np.random.default_rng(seed).permutation(len(groups)) for row in groups[i]]
    sizes = [int(share * len(order)) for share in shares] if shares else list(counts)
    ends = [_whole_groups(end, order, keys) for end in np.cumsum(sizes)]
    parts = np.split(np.array(order[: ends[-1]]), ends[:-1])
    kept = {column: values for column, values in rows.items() if column != left_out}
    return {
        name: Split({column: [values[i] for i in part] for column, values in kept.items()}, tuple(classes))
        for name, part in zip(SPLITS, parts, strict=True)
    }


def _whole_groups(end: int, order: list[int], keys: list) -> int:
    """The first place from `end` on where no group is cut."""
    while 0 < end < len(order) and keys[order[end]] == keys[order[end - 1]]:
        end += 1
    return min(int(end), len(order))


def write(folder: Path, table: Table) -> None:
    """Write parquet files with features, laid out as on the Hub."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, split in table.items():
        labels = ClassLabel(names=list(split.classes)) if split.classes else Value("string")
        kinds = {**_FEATURES, "label": labels, "tags": List(labels)}
        features = Features({column: kinds.get(column, Value("string")) for column in split.columns})
        dataset = Dataset.from_dict(split.columns, features=features)
        if "audio" in split.columns:
            # Given as a feature, it would decode every clip, which needs torchcodec.
            dataset = dataset.cast_column("audio", Audio())
        dataset.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
