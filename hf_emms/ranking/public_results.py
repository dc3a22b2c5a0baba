"""Published results of checkpoints on public benchmarks, and their order, which does not look at the dataset.

`public_results.csv` contains the values: table, Hub id, value, and for some tables the number of the benchmark's tasks
that the checkpoint states as training data.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple, TypeVar

import msgspec

from hf_emms.ranking.records import PublicTable, RankingData, is_commit

R = TypeVar("R", bound=RankingData)

_MTEB = ("embeddings-benchmark/results@f4cc6c8b", "CC0-1.0")
_IMAGES = ("image-classification", "image-regression")
PUBLIC_TABLES: Mapping[str, PublicTable] = {
    "mieb": PublicTable("mean accuracy on 22 MIEB datasets, 16 images per class, frozen features (%)", *_MTEB, _IMAGES),
    "imagenet": PublicTable(
        "ImageNet top-1 accuracy (%)", "huggingface/pytorch-image-models@aa4b5850", "Apache-2.0", _IMAGES
    ),
    "maeb": PublicTable(
        "mean of 12 MAEB classification and tagging tasks, frozen features (%)", *_MTEB, ("audio-classification",)
    ),
    "few-labels": PublicTable(
        "mean accuracy on 8 classification tasks of MTEB(eng, v2), few labels (%)", *_MTEB, ("text-classification",)
    ),
    "beir": PublicTable("mean nDCG@10 of 15 BEIR tasks (%)", *_MTEB, ("text-retrieval",)),
    "trec-dl-2019": PublicTable(
        "nDCG@10 of TREC DL 2019 (%)", "huggingface/sentence-transformers@0d2ffedc", "Apache-2.0", ("text-ranking",)
    ),
    "wer": PublicTable(
        "mean word error rate on 8 English datasets (%)",
        "huggingface/open_asr_leaderboard@d1e99b25",
        "Apache-2.0",
        ("automatic-speech-recognition",),
        lower_is_better=True,
    ),
}


class PublishedValue(NamedTuple):
    """The value of a checkpoint, and the number of the table's tasks that it states as training data, if known."""

    value: float
    trained_on: int | None


def with_published_values(ranking: R) -> R:
    """Add the published benchmark values of checkpoints to a ranking.

    Values of two tables cannot be compared. If a task has several tables, the one with the most checkpoints counts. If
    no table contains two of the checkpoints, no row has a value.
    """
    ids = [row.checkpoint.partition("@")[0] if is_commit(row.revision) else "" for row in ranking.rows]
    by_table = {
        name: [published_value(name, id) for id in ids]
        for name, table in PUBLIC_TABLES.items()
        if ranking.task in table.tasks
    }
    usable = {name: values for name, values in by_table.items() if _count(values) > 1}
    best = max(usable, key=lambda name: _count(usable[name]), default=None)
    values = [None] * len(ids) if best is None else usable[best]
    rows = (
        msgspec.structs.replace(row, published=value and value.value, published_trained_on=value and value.trained_on)
        for row, value in zip(ranking.rows, values, strict=True)
    )
    table = None if best is None else PUBLIC_TABLES[best]
    return msgspec.structs.replace(ranking, rows=tuple(rows), published_table=table)


def published_value(table: str, id: str) -> PublishedValue | None:
    """Return the value of a Hub id in a table of `PUBLIC_TABLES`; None if the table lacks it."""
    return _read()[table].get(id.lower())


def _count(values: list[PublishedValue | None]) -> int:
    return len(values) - values.count(None)


@cache
def _read() -> Mapping[str, Mapping[str, PublishedValue]]:
    """Return table → Hub id in lower case → value."""
    tables: dict[str, dict[str, PublishedValue]] = {name: {} for name in PUBLIC_TABLES}
    text = resources.files(__package__).joinpath("public_results.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        trained_on = int(row["trained_on"]) if row["trained_on"] else None
        tables[row["table"]][row["id"].lower()] = PublishedValue(float(row["value"]), trained_on)
    return tables
