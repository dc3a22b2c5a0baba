"""Read fine-tuning results from files, rankings or leaderboards, and match their names with checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_emms.cache.files import read_limited
from hf_emms.data.files.lines import csv_rows, json_lines
from hf_emms.errors import EmmsError, Note, setting_ref
from hf_emms.hub import leaderboard
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.columns import single_line

_OWN_RESULTS = "a file with your own fine-tuning results: " + setting_ref("truth", ...)
_CHECKPOINT = ("checkpoint", "model", "id", "model_id", "model_name", "name")
_DATASET = ("dataset", "dataset_id", "target")
_SCORE = "score"
_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
_SHORTEST_SHA = 7
_LOSSES = frozenset({"loss", "error", "wer", "cer", "perplexity", "ppl", "mse", "rmse", "mae"})
_CAUTION = Note(
    "leaderboard-recipes",
    "A leaderboard lists checkpoints with different training recipes. Your own fine-tuning results are a better truth.",
)


@dataclass(frozen=True)
class Truth:
    """Scores after fine-tuning.

    Attributes:
        source: A file, or another description of the origin.
        scores: Dataset → checkpoint → value as read; the dataset is None if the table does not name datasets.
        notes: What was inferred, averaged or left out.
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


def read_truth(path: Path, *, metric: str | None = None, lower_is_better: bool = False) -> Truth:
    """Read a table with columns of checkpoints and scores and, for several targets, of datasets.

    JSON may be a list of such rows, {checkpoint: score} or {dataset: {checkpoint: score}}. The score of a checkpoint
    with several rows (seeds) is their mean.

    Args:
        path: A .csv, .tsv, .json or .jsonl file.
        metric: The column of the scores; by default "score" or the only column with numbers.
        lower_is_better: Whether the scores are losses or error rates.

    Raises:
        EmmsError: The file cannot be read, or its columns are not recognized.
    """
    rows = _rows(path)
    if not rows:
        raise EmmsError(f"{path} has no rows.", "Write a line per checkpoint below a header: checkpoint,score")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    checkpoint = _named(columns, _CHECKPOINT)
    if checkpoint is None:
        raise EmmsError(
            f"{path} has no column of checkpoints; its columns are {_listed(columns)}.",
            f"Name one of them {_CHECKPOINT[0]!r}.",
        )
    dataset = _named(columns, _DATASET)
    score = _score_column(path, rows, [name for name in columns if name not in (checkpoint, dataset)], metric)
    truth = _averaged(path, rows, (checkpoint, dataset, score), lower_is_better)
    if lower_is_better or _LOSSES.isdisjoint(score.lower().replace("-", "_").split("_")):
        return truth
    text = f"Higher values of {score!r} count as better; {setting_ref('lower_is_better', True)} reverses this."
    return replace(truth, notes=(Note("higher-is-better", single_line(text)), *truth.notes))


def truth_from_rankings(rankings: Sequence[Ranking]) -> Truth:
    """Return the fine-tuned scores of the rankings' own checkpoints, in points; see `Row.fine_tuned`.

    Raises:
        EmmsError: A ranking has no fine-tuned checkpoint, or several metrics.
    """
    scores: dict[str | None, dict[str, float]] = {}
    metrics = set()
    for ranking in rankings:
        results = {row.checkpoint: row.fine_tuned for row in ranking.fine_tuned if row.fine_tuned is not None}
        if not results:
            raise EmmsError(
                f"The ranking of {ranking.dataset!r} has no fine-tuned checkpoint.",
                "Fine-tune the best ones with hf-emms confirm --ranking FILE, or name " + _OWN_RESULTS,
            )
        metrics |= {result.metric for result in results.values()}
        scores[ranking.dataset_id] = {name: 100 * (result.value or 0.0) for name, result in results.items()}
    if len(metrics) > 1 and len(rankings) == 1:
        raise EmmsError(
            f"The checkpoints have fine-tuned scores of several metrics: {', '.join(sorted(metrics))}.",
            "Name " + _OWN_RESULTS,
        )
    note = Note(
        "best-checkpoints-only",
        "The truth covers the checkpoints that a ranking put first. Agreement among them is lower than among all.",
    )
    return Truth("the rankings' own fine-tunings", ", ".join(sorted(metrics)), scores, notes=(note,))


def _number_of(value: Any) -> float | None:
    """Return the finite number in a cell ("84.2", "84.2%", 84.2), or None."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value.strip().removesuffix("%") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _averaged(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: tuple[str, str | None, str], lower: bool
) -> Truth:
    checkpoint, dataset, score = columns
    tables: dict[str | None, dict[str, list[float]]] = {}
    empty = []
    for row in rows:
        name = str(row.get(checkpoint) or "").strip()
        value = _number_of(row.get(score))
        if name and value is not None:
            key = str(row.get(dataset) or "").strip() or None if dataset else None
            tables.setdefault(key, {}).setdefault(name, []).append(value)
        elif name:
            empty.append(name)
    if not tables:
        raise EmmsError(
            f"{path} has no number in column {score!r}.", "Name another column: " + setting_ref("metric", "NAME")
        )
    notes = []
    if empty:
        notes.append(Note("no-number", single_line(f"No number in column {score!r}: {_listed(empty)}")))
    if repeated := [name for table in tables.values() for name, values in table.items() if len(values) > 1]:
        notes.append(Note("averaged", single_line(f"Averaged several rows of {_listed(dict.fromkeys(repeated))}.")))
    means = {key: {name: sum(all) / len(all) for name, all in table.items()} for key, table in tables.items()}
    return Truth(str(path), score, means, lower, tuple(notes))


def _rows(path: Path) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise EmmsError(
            f"{path}: files with the suffix {path.suffix!r} are not read.",
            f"Name a file with one of the suffixes {', '.join(_SUFFIXES)}.",
        )
    if path.exists() and not path.is_file():
        raise EmmsError(f"{path} is not a file.", "Name a file of the " + setting_ref("truth"))
    try:
        if suffix == ".json":
            return _json_rows(path, json.loads(read_limited(path)))
        if suffix == ".jsonl":
            return [*json_lines(path)]
        header, *rows = [[cell.strip() for cell in cells] for cells in csv_rows(path)] or [[]]
        return [dict(zip(header, row, strict=False)) for row in rows]
    except EmmsError:
        raise
    except OSError as error:
        raise EmmsError(
            f"Cannot read {path}: {error.strerror or error}", "Name another file of the " + setting_ref("truth")
        ) from error
    except (ValueError, RecursionError) as error:
        raise EmmsError(f"{path} cannot be read as {suffix[1:]}: {error}", "Save it as UTF-8.") from error


def _json_rows(path: Path, data: Any) -> list[dict[str, Any]]:
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return data
    if isinstance(data, dict) and data:
        tables = [value for value in data.values() if isinstance(value, dict)]
        if len(tables) == len(data):
            return [
                {"dataset": dataset, "checkpoint": name, _SCORE: value}
                for dataset, table in data.items()
                for name, value in table.items()
            ]
        if not tables:
            return [{"checkpoint": name, _SCORE: value} for name, value in data.items()]
    raise EmmsError(
        f"{path} does not contain a table of scores.",
        'Write [{"checkpoint": …, "score": …}, …], {"CHECKPOINT": SCORE} or {"DATASET": {"CHECKPOINT": SCORE}}',
    )


def _score_column(path: Path, rows: Sequence[Mapping[str, Any]], columns: list[str], metric: str | None) -> str:
    if metric is not None:
        if metric not in columns:
            raise EmmsError(
                f"{path} has no column {metric!r}.", "Choose " + setting_ref("metric") + f" from: {_listed(columns)}"
            )
        return metric
    numeric = [name for name in columns if any(_number_of(row.get(name)) is not None for row in rows)]
    if _SCORE in numeric:
        return _SCORE
    if len(numeric) != 1:
        columns_found = f"several columns with numbers: {_listed(numeric)}" if numeric else "no column with numbers"
        raise EmmsError(f"{path} has {columns_found}.", "Name the column of scores: " + setting_ref("metric", "NAME"))
    return numeric[0]


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    by_name = {name.lower().replace(" ", "_"): name for name in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"


def matched(rows: Sequence[Row], names: Iterable[str]) -> dict[str, str]:
    """Return checkpoint of a ranking → its name in a table, for the checkpoints that both have.

    Equal names always match. Otherwise ``ORG/NAME`` matches ``ORG/NAME@REVISION`` if each side has only one revision of
    it. Two revisions match if they are equal, or if one is the commit of the row. Names are case-sensitive.
    """
    free = dict.fromkeys(names)
    pairs = {}
    for row in rows:
        if row.checkpoint in free:
            pairs[row.checkpoint] = row.checkpoint
            del free[row.checkpoint]
    left = [row for row in rows if row.checkpoint not in pairs]
    for row in left:
        alike = [name for name in free if _means(name, row)]
        rivals = [other for other in left if any(_means(name, other) for name in alike)]
        if len(alike) == 1 and len(rivals) == 1:
            pairs[row.checkpoint] = alike[0]
    return pairs


def stopped_early(ranking: Ranking) -> tuple[Note, ...]:
    """Return a note on the checkpoints that a race stopped before they had seen all rows."""
    names = [row.checkpoint for row in ranking.rows if row.n is not None]
    text = f"{ranking.dataset}: a race stopped {', '.join(names)}. Their scores are of fewer rows."
    return (Note("stopped-by-race", text),) if names else ()


def dataset_of(ranking: Ranking, names: Iterable[str | None]) -> str | None:
    """Return a table's name for a ranking's dataset; None if the table does not name datasets."""
    datasets = list(names)
    if datasets == [None]:
        return None
    for name in (ranking.dataset, ranking.dataset_id):
        if name in datasets:
            return name
    ours = {_loose(ranking.dataset), _loose(ranking.dataset_id)}
    alike = [name for name in datasets if name is not None and _loose(name) in ours]
    if len(alike) == 1:
        return alike[0]
    raise EmmsError(
        f"The truth has no scores for {ranking.dataset!r} ({ranking.dataset_id}).",
        f"Its datasets are: {', '.join(map(str, datasets))}",
    )


def _means(name: str, row: Row) -> bool:
    ours, _, our_revision = _path(row.checkpoint).partition("@")
    theirs, _, their_revision = _path(name).partition("@")
    if ours != theirs:
        return False
    if not their_revision or their_revision == our_revision:
        return True
    if len(their_revision) >= _SHORTEST_SHA and (row.revision or "").startswith(their_revision):
        return True
    is_sha = len(their_revision) >= _SHORTEST_SHA and all(digit in "0123456789abcdef" for digit in their_revision)
    return not our_revision and not is_sha


def _path(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _loose(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower().replace("-", "_")


def truth_from_leaderboards(rankings: Sequence[Ranking]) -> Truth:
    """Return the results on the Hub's leaderboard of each ranking's dataset.

    Raises:
        EmmsError: A dataset has no leaderboard, or the Hub cannot be reached.
    """
    scores: dict[str | None, dict[str, float]] = {}
    notes = []
    for ranking in rankings:
        entries = leaderboard(ranking.dataset_id)
        values_by_id: dict[str, list[float]] = {}
        for entry in entries:
            values_by_id.setdefault(entry.id, []).append(entry.value)
        scores[ranking.dataset_id] = {id: sum(values) / len(values) for id, values in values_by_id.items()}
        verified = sum(entry.verified for entry in entries)
        text = f"{ranking.dataset_id}: the Hub has verified {verified} of {len(entries)} results."
        notes.append(Note("verified-results", single_line(text)))
        if repeated := [id for id, values in values_by_id.items() if len(values) > 1]:
            notes.append(Note("averaged", single_line(f"Averaged several results of {_listed(repeated)}.")))
    return Truth("the Hub's leaderboards", "result", scores, notes=(*notes, _CAUTION))
