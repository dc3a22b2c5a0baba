"""Published results of checkpoints on public benchmarks, which chose the default checkpoints.

`public_results.csv` contains the values: table, Hub id, value, and for some tables the number of the benchmark's tasks
that the checkpoint states as training data.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class PublicTable:
    """A published table with a value per checkpoint.

    Attributes:
        title: What the value is, with its unit.
        source: The repository that publishes the results, and its commit.
        license: Of the results.
        tasks: Hub task ids that the table is a control for.
        lower_is_better: Whether a lower value is better, as for word error rates.
    """

    title: str
    source: str
    license: str
    tasks: tuple[str, ...]
    lower_is_better: bool = False


_IMAGE_TASKS = ("image-classification", "image-regression")

PUBLIC_TABLES: Mapping[str, PublicTable] = {
    "mieb": PublicTable(
        "mean accuracy on 22 MIEB datasets, 16 images per class, frozen features (%)",
        "embeddings-benchmark/results@f4cc6c8b",
        "CC0-1.0",
        _IMAGE_TASKS,
    ),
    "imagenet": PublicTable(
        "ImageNet top-1 accuracy (%)", "huggingface/pytorch-image-models@aa4b5850", "Apache-2.0", _IMAGE_TASKS
    ),
    "maeb": PublicTable(
        "mean of 12 MAEB classification and tagging tasks, frozen features (%)",
        "embeddings-benchmark/results@f4cc6c8b",
        "CC0-1.0",
        ("audio-classification",),
    ),
    "beir": PublicTable(
        "mean nDCG@10 of 15 BEIR tasks (%)",
        "embeddings-benchmark/results@f4cc6c8b",
        "CC0-1.0",
        ("text-retrieval",),
    ),
    "wer": PublicTable(
        "mean word error rate on 8 English datasets (%)",
        "huggingface/open_asr_leaderboard@d1e99b25",
        "Apache-2.0",
        ("automatic-speech-recognition",),
        lower_is_better=True,
    ),
}


@dataclass(frozen=True)
class PublicResults:
    """The published values of a ranking's checkpoints, from one table.

    Attributes:
        table: Key of `PUBLIC_TABLES`.
        values: Checkpoint as given → value; checkpoints that the table lacks are absent.
        trained_on: Checkpoint → number of the benchmark's tasks that it states as training data, if known.
    """

    table: str
    values: Mapping[str, float]
    trained_on: Mapping[str, int]

    @property
    def best(self) -> str:
        """The checkpoint with the best published value; the first one if several share it."""
        sign = -1 if PUBLIC_TABLES[self.table].lower_is_better else 1
        return max(self.values, key=lambda name: sign * self.values[name])


def public_results(task_id: str, checkpoints: Iterable[str]) -> PublicResults | None:
    """Return the published values of checkpoints (``ORG/NAME[@REVISION]``) from the task's table.

    Values of two tables cannot be compared. If a task has several tables, the one with the most of these checkpoints
    counts. Returns None if no table contains two of the checkpoints.
    """
    ids = {name: name.partition("@")[0].lower() for name in checkpoints}
    candidates = []
    for key, table in PUBLIC_TABLES.items():
        if task_id in table.tasks:
            rows = _read()[key]
            values = {name: rows[id][0] for name, id in ids.items() if id in rows}
            trained_on = {name: count for name in values if (count := rows[ids[name]][1]) is not None}
            candidates.append(PublicResults(key, values, trained_on))
    results = max(candidates, key=lambda results: len(results.values), default=None)
    return results if results is not None and len(results.values) > 1 else None


def published_value(table: str, id: str) -> float | None:
    """Return the value of a checkpoint in a table of `PUBLIC_TABLES`; None if the table lacks it."""
    row = _read()[table].get(id.lower())
    return row[0] if row is not None else None


@cache
def _read() -> Mapping[str, Mapping[str, tuple[float, int | None]]]:
    """Return table → Hub id in lower case → value and number of tasks trained on."""
    tables: dict[str, dict[str, tuple[float, int | None]]] = {key: {} for key in PUBLIC_TABLES}
    text = resources.files(__package__).joinpath("public_results.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        trained_on = int(row["trained_on"]) if row["trained_on"] else None
        tables[row["table"]][row["id"].lower()] = float(row["value"]), trained_on
    return tables
