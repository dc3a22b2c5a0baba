"""Write datasets as Parquet files in the Hub's layout, with their features. Their cards are written by hand."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Audio, Dataset, Features, Value
from PIL import Image

from scripts.demo import sources

PALETTE = 64  # colours of a stored scene; it halves the size, and is not visible at 128 × 96

_AUDIO = {"bytes": Value("binary"), "path": Value("string")}


def png(image: Image.Image, palette: int | None = None) -> dict[str, bytes]:
    """Return a cell of an image column, by default with all colours of the picture."""
    buffer = io.BytesIO()
    if palette is not None:
        image = image.quantize(palette, dither=Image.Dither.NONE)
    image.save(buffer, format="PNG", optimize=True)
    return {"bytes": buffer.getvalue()}


def table_file(name: str, folder: str = "data", split: str = "test") -> Path:
    """Return the Parquet file of a demo dataset; create its folder."""
    path = sources.DEMO / "datasets" / name / folder / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_dataset(
    name: str, columns: Mapping[str, Any], rows: Sequence[Sequence[Any]], *, pictures_repeat: bool = False
) -> None:
    """Write the only split of a demo dataset, "test".

    Args:
        name: Of its folder below hf_emms/presets/demo/datasets.
        columns: Name → feature.
        rows: Their values.
        pictures_repeat: Whether several rows contain the same picture.
    """
    values = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    # An Audio feature would decode every clip, which needs torchcodec: a cast does not.
    stored = {column: _AUDIO if isinstance(kind, Audio) else kind for column, kind in columns.items()}
    table = Dataset.from_dict(values, features=Features(stored))
    for column, kind in columns.items():
        table = table.cast_column(column, kind) if isinstance(kind, Audio) else table
    if pictures_repeat:
        # datasets would write a picture once per row; a dictionary stores it once
        content = table.data.table.replace_schema_metadata(table.features.arrow_schema.metadata)
        pq.write_table(content, table_file(name), use_dictionary=True)
    else:
        table.to_parquet(table_file(name))
