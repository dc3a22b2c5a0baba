"""Read fine-tuning results from a table or from rankings, and match their names with checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_emms.data.files.lines import csv_rows
from hf_emms.errors import EmmsError, Note
from hf_emms.ranking import Ranking, Row
from hf_emms.texts import setting_ref

_LAYOUT = "write CSV with the columns checkpoint and score, and dataset for several targets"


@dataclass(frozen=True)
class Truth:
    """Fine-tuning results, which rankings are compared with.

    Attributes:
        source: A file, or another description of the origin.
        scores: Dataset → checkpoint → value as read; the dataset is None if the table does not name datasets.
    """

    source: str
    metric: str
    scores: Mapping[str | None, Mapping[str, float]]
    lower_is_better: bool = False
    notes: tuple[Note, ...] = ()

    def higher_is_better(self, dataset: str | None) -> dict[str, float]:
        """Return the values of a dataset, negated if lower is better."""
        sign = -1.0 if self.lower_is_better else 1.0
        return {name: sign * value for name, value in self.scores[dataset].items()}


def read_truth(path: Path, *, lower_is_better: bool = False) -> Truth:
    """Read a table with the columns checkpoint and score and, for several targets, dataset.

    The score of a checkpoint with several rows (seeds) is their mean. Rows without a finite number are skipped.

    Args:
        path: CSV with any separator.
        lower_is_better: Whether the scores are losses or error rates.

    Raises:
        EmmsError: The file cannot be read, or contains no scores.
    """
    values: dict[str | None, dict[str, list[float]]] = {}
    for row in _rows(path):
        value = _number_of(row.get("score"))
        if row.get("checkpoint") and value is not None:
            table = values.setdefault(str(row.get("dataset") or "") or None, {})
            table.setdefault(str(row["checkpoint"]), []).append(value)
    if not values:
        raise EmmsError("truth-empty", f"{path} contains no scores of checkpoints", _LAYOUT)
    scores = {
        name: {checkpoint: sum(runs) / len(runs) for checkpoint, runs in table.items()}
        for name, table in values.items()
    }
    return Truth(str(path), "score", scores, lower_is_better)


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.exists() and not path.is_file():
        raise EmmsError("cannot-read", f"{path} is not a file", "name a file of the " + setting_ref("truth"))
    try:
        header, *rows = [[cell.strip() for cell in cells] for cells in csv_rows(path)] or [[]]
        return [dict(zip(header, row, strict=False)) for row in rows]
    except OSError as error:
        raise EmmsError(
            "cannot-read",
            f"cannot read {path}: {error.strerror or error}",
            "name another file of the " + setting_ref("truth"),
        ) from error


def _number_of(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def truth_from_rankings(rankings: Sequence[Ranking]) -> Truth:
    """Return the fine-tuned scores of the rankings' own checkpoints, in points; see `Row.fine_tuned`.

    Raises:
        EmmsError: A ranking has no fine-tuned checkpoint.
    """
    scores: dict[str | None, dict[str, float]] = {}
    metrics = set()
    for ranking in rankings:
        results = {row.checkpoint: row.fine_tuned for row in ranking.fine_tuned if row.fine_tuned is not None}
        if not results:
            raise EmmsError(
                "not-fine-tuned",
                f"the ranking of {ranking.dataset!r} has no fine-tuned checkpoint",
                "fine-tune the best ones with hf-emms confirm --ranking FILE, or name a file with your own "
                "fine-tuning results: " + setting_ref("truth", ...),
            )
        metrics |= {result.metric for result in results.values()}
        scores[ranking.dataset_id] = {name: 100 * (result.value or 0.0) for name, result in results.items()}
    note = Note(
        "best-checkpoints-only",
        "the truth covers the checkpoints that a ranking put first. Agreement among them is lower than among all",
    )
    return Truth("the rankings' own fine-tunings", ", ".join(sorted(metrics)), scores, notes=(note,))


def matched(rows: Sequence[Row], names: Iterable[str]) -> dict[str, str]:
    """Match the checkpoints of a ranking with the names in a table of results.

    Equal names always match. Otherwise ``ORG/NAME`` matches ``ORG/NAME@REVISION`` if each side has only one revision of
    it.
    """
    names = list(names)
    pairs = {row.checkpoint: row.checkpoint for row in rows if row.checkpoint in names}
    free = [name for name in names if name not in pairs]
    left = [row.checkpoint for row in rows if row.checkpoint not in pairs]
    for checkpoint in left:
        alike = [name for name in free if _is_alike(name, checkpoint)]
        rivals = [other for other in left if any(_is_alike(name, other) for name in alike)]
        if len(alike) == len(rivals) == 1:
            pairs[checkpoint] = alike[0]
    return pairs


def _is_alike(name: str, checkpoint: str) -> bool:
    (theirs, _, their_revision), (ours, _, our_revision) = name.partition("@"), checkpoint.partition("@")
    return ours == theirs and not (our_revision and their_revision)


def dataset_of(ranking: Ranking, names: Iterable[str | None]) -> str | None:
    """Return a table's name for a ranking's dataset; None if the table does not name datasets."""
    datasets = list(names)
    if datasets == [None]:
        return None
    for name in (ranking.dataset, ranking.dataset_id):
        if name in datasets:
            return name
    raise EmmsError(
        "truth-without-dataset",
        f"the truth has no scores for {ranking.dataset!r} ({ranking.dataset_id})",
        f"its datasets are: {', '.join(map(str, datasets))}",
    )
