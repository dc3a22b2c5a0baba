"""Read rows from the Hub, draw three splits, and write them as a Hub dataset folder."""

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
# Columns other than texts and classes.
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
    """Columns of one split, and the class names."""

    columns: dict[str, list]
    classes: tuple[str, ...] = ()


Table = dict[str, Split]


def hub_rows(repo: str, config: str, split: str) -> Dataset:
    """Return rows of a Hub dataset, or of parquet copies below HF_EMMS_QUALITY_ROWS if that is set.

    Args:
        repo: Dataset id. A copy is in OWNER--NAME/CONFIG/, in files that begin with the name of the split, or in a
            folder with this name.
        config: The configuration.
        split: The split.
    """
    if "HF_EMMS_QUALITY_ROWS" not in os.environ:
        return load_dataset(repo, config, split=split)
    folder = rows_folder(repo) / config
    patterns = (f"{split}-*.parquet", f"{split}/*.parquet")
    return Dataset.from_parquet(sorted(str(path) for pattern in patterns for path in folder.glob(pattern)))


def rows_folder(repo: str) -> Path:
    """Return the folder OWNER--NAME of a dataset under HF_EMMS_QUALITY_ROWS.

    Raises:
        FileNotFoundError: It does not exist.
    """
    name = repo.replace("/", "--")
    folder = Path(os.environ.get("HF_EMMS_QUALITY_ROWS", "")) / name
    if "HF_EMMS_QUALITY_ROWS" not in os.environ or not folder.is_dir():
        raise FileNotFoundError(f"{repo} needs HF_EMMS_QUALITY_ROWS, a folder that contains {name}")
    return folder


def hub_columns(repo: str, config: str, splits: Sequence[str], columns: Mapping[str, str]) -> dict[str, list]:
    """Return columns of a Hub dataset, with its splits concatenated.

    Args:
        repo: As `hub_rows` takes it, as is `config`.
        config: The configuration.
        splits: The splits.
        columns: Name of a column → the Hub's name for it.
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
        rows: Columns, the input first; "label" contains class ids.
        classes: Names of the classes.
        seed: Of the draw.
        shares: Shares of all rows, instead of `counts`.
        counts: Numbers of rows.
        group: Rows with equal values in this column stay in one split; by default, only the first row per input counts.
        left_out: A column to drop.
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
    """Return the first position from `end` that does not split a group."""
    while 0 < end < len(order) and keys[order[end]] == keys[order[end - 1]]:
        end += 1
    return min(int(end), len(order))


def write(folder: Path, table: Table) -> None:
    """Write parquet files with features, in the layout of the Hub."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, split in table.items():
        labels = ClassLabel(names=list(split.classes)) if split.classes else Value("string")
        kinds = {**_FEATURES, "label": labels, "tags": List(labels)}
        features = Features({column: kinds.get(column, Value("string")) for column in split.columns})
        dataset = Dataset.from_dict(split.columns, features=features)
        if "audio" in split.columns:
            # As a feature, it would decode every clip, which needs torchcodec.
            dataset = dataset.cast_column("audio", Audio())
        dataset.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
