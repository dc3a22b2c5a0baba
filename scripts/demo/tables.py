"""Datasets as folders in the Hub's layout: README.md with dataset_info, parquet with features."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from datasets import Audio, Dataset, Features, Value
from PIL import Image

from scripts.demo import sources

WORDNET_TERMS = "WordNet 3.0 Copyright 2006 by Princeton University; its licence stands in hf_emms' NOTICE."
WORDNET_LICENSE = {
    "license_name": "wordnet",
    "license_link": "https://wordnet.princeton.edu/license-and-commercial-use",
}
PALETTE = 64  # colours of a stored scene; it halves the size, and is not visible at 128 × 96

_AUDIO = {"bytes": Value("binary"), "path": Value("string")}


def png(image: Image.Image, palette: int | None = None) -> dict[str, bytes]:
    """Return a cell of an image column.

    Args:
        image: The picture.
        palette: Number of colours; all by default.
    """
    buffer = io.BytesIO()
    if palette is not None:
        image = image.quantize(palette, dither=Image.Dither.NONE)
    image.save(buffer, format="PNG", optimize=True)
    return {"bytes": buffer.getvalue()}


def write_dataset(
    name: str,
    columns: Mapping[str, Any],
    rows: Sequence[Sequence[Any]],
    *,
    title: str,
    license: str = "other",
    task: str,
    text: str,
    origin: str | None = None,
    pictures_repeat: bool = False,
) -> None:
    """Write a dataset's folder under hf_emms/presets/demo/datasets.

    Args:
        name: Of the folder.
        columns: Name → feature.
        rows: Of its only split, "test".
        title: For people.
        license: A Hub license id; "other" means WordNet's.
        task: The Hub's task category.
        text: What it contains, from which source under which terms.
        origin: The Hub's `source_datasets`.
        pictures_repeat: Whether several rows contain the same picture.
    """
    values = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    # An Audio feature would decode every clip, which needs torchcodec: a cast does not.
    stored = {column: _AUDIO if isinstance(kind, Audio) else kind for column, kind in columns.items()}
    table = Dataset.from_dict(values, features=Features(stored))
    for column, kind in columns.items():
        table = table.cast_column(column, kind) if isinstance(kind, Audio) else table
    folder = sources.DEMO / "datasets" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    parquet = folder / "data" / "test-00000-of-00001.parquet"
    if pictures_repeat:
        # datasets would write a picture once per row; a dictionary stores it once
        content = table.data.table.replace_schema_metadata(table.features.arrow_schema.metadata)
        pq.write_table(content, parquet, use_dictionary=True)
    else:
        table.to_parquet(parquet)
    configs = [{"config_name": "default", "data_files": [{"split": "test", "path": "data/test-*"}]}]
    write_dataset_card(folder, title, {"license": license}, task, text, configs, table, parquet, origin)


def write_dataset_card(
    folder: Path,
    title: str,
    license: Mapping[str, str],
    task: str,
    text: str,
    configs: Sequence[Mapping[str, Any]],
    table: Dataset,
    parquet: Path,
    origin: str | None,
) -> None:
    """Write the README of a dataset whose main table is in a parquet file."""
    head = {
        **license,
        "language": ["en"],
        "pretty_name": title,
        "size_categories": ["1K<n<10K" if len(table) >= 1_000 else "n<1K"],
        "task_categories": [task],
        "tags": ["hf-emms-demo"],
        "configs": list(configs),
        "dataset_info": {
            "features": table.features._to_yaml_list(),
            "splits": [{"name": "test", "num_bytes": parquet.stat().st_size, "num_examples": len(table)}],
        },
        **({"source_datasets": [origin]} if origin else {}),
        **(WORDNET_LICENSE if license["license"] == "other" else {}),
    }
    write_card(folder, head, f"# {title}\n\n{text}\n\nPart of the embedded demo of hf_emms; not a benchmark.")


def write_card(folder: Path, head: Mapping[str, Any], body: str) -> None:
    """Write folder/README.md with YAML front matter, as the Hub reads it."""
    matter = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True, width=110)
    (folder / "README.md").write_text(f"---\n{matter}---\n\n{body.strip()}\n", encoding="utf-8")
