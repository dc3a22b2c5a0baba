"""Datasets as folders in the Hub's layout: README.md with dataset_info, parquet with features."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from datasets import Dataset
from PIL import Image

from scripts.demo import sources

PALETTE = 64  # colours of a stored scene; halves its size and is not visible at 128 × 96


def png(image: Image.Image, palette: int | None = None) -> dict[str, bytes]:
    """A cell of an image column.

    Args:
        image: the picture.
        palette: how many colours; all by default.
    """
    buffer = io.BytesIO()
    if palette is not None:
        image = image.quantize(palette, dither=Image.Dither.NONE)
    image.save(buffer, format="PNG", optimize=True)
    return {"bytes": buffer.getvalue()}


def write_dataset(
    name: str,
    table: Dataset,
    *,
    title: str,
    license: str,
    task: str,
    text: str,
    origin: str | None = None,
    pictures_repeat: bool = False,
) -> None:
    """Write a dataset's folder under hf_emms/presets/demo/datasets.

    Args:
        name: of the folder.
        table: the rows of its only split, "test".
        title: for people.
        license: a Hub license id; "other" means WordNet's.
        task: the Hub's task category.
        text: what it holds, from which source under which terms.
        origin: what the Hub's `source_datasets` should say.
        pictures_repeat: whether several rows hold the same picture.
    """
    folder = sources.DEMO / "datasets" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    parquet = folder / "data" / "test-00000-of-00001.parquet"
    if pictures_repeat:
        # datasets writes every picture of every row in full; a dictionary holds each once
        rows = table.data.table.replace_schema_metadata(table.features.arrow_schema.metadata)
        pq.write_table(rows, parquet, use_dictionary=True)
    else:
        table.to_parquet(parquet)
    head = {
        "license": license,
        "language": ["en"],
        "pretty_name": title,
        "size_categories": ["1K<n<10K" if len(table) >= 1_000 else "n<1K"],
        "task_categories": [task],
        "tags": ["hf-emms-demo"],
        "configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "data/test-*"}]}],
        "dataset_info": {
            "features": table.features._to_yaml_list(),
            "splits": [{"name": "test", "num_bytes": parquet.stat().st_size, "num_examples": len(table)}],
        },
    }
    if origin is not None:
        head["source_datasets"] = [origin]
    if license == "other":
        head |= {"license_name": "wordnet", "license_link": "https://wordnet.princeton.edu/license-and-commercial-use"}
    body = f"# {title}\n\n{text}\n\nPart of the embedded demo of hf_emms; not a benchmark."
    write_card(folder, head, body)


def write_card(folder: Path, head: Mapping[str, Any], body: str) -> None:
    """Write folder/README.md with YAML front matter, as the Hub reads it."""
    matter = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True, width=110)
    (folder / "README.md").write_text(f"---\n{matter}---\n\n{body.strip()}\n", encoding="utf-8")
