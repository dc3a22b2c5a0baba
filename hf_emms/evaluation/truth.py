"""Fine-tuning results from a file or from model cards, and which of their names mean which checkpoint of a ranking."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError, use
from hf_emms.files import decoded
from hf_emms.formatting import pluralize
from hf_emms.hub import Evaluation, Repo, evaluations, leaderboard, resolve
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.columns import single_line

_OWN_RESULTS = "a file of the " + use("truth") + " with your own fine-tuning results"
_CHECKPOINT = ("checkpoint", "model", "id", "model_id", "model_name", "name")
_DATASET = ("dataset", "dataset_id", "target")
_SCORE = "score"
_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
_SHORTEST_SHA = 7
_LOSSES = frozenset({"loss", "error", "wer", "cer", "perplexity", "ppl", "mse", "rmse", "mae"})
_SPLITS = ("test", "validation", "valid", "dev")
_SHARES = ("accuracy", "f1", "precision", "recall", "exact_match", "top-1 accuracy", "top-5 accuracy")
_CAUTION = (
    "a card reports a checkpoint that was trained on this dataset, often with a recipe of its own; "
    "your own fine-tuning results are the better truth"
)


@dataclass(frozen=True)
class Truth:
    """Scores after fine-tuning.

    Attributes:
        source: where they come from, in words.
        scores: dataset → checkpoint → value as read; the dataset is None where the table names none.
        notes: what was inferred, averaged or left out.
    """

    source: str
    metric: str
    scores: Mapping[str | None, Mapping[str, float]]
    lower_is_better: bool = False
    notes: tuple[str, ...] = ()

    def higher_is_better(self, dataset: str | None) -> dict[str, float]:
        """The values of a dataset, negated where a small one is good."""
        sign = -1.0 if self.lower_is_better else 1.0
        return {name: sign * value for name, value in self.scores[dataset].items()}


def read_truth(path: Path, *, metric: str | None = None, lower_is_better: bool = False) -> Truth:
    """Reads a table with a column of checkpoints, one of scores and, for several targets, one of datasets.

    JSON may be a list of such rows, {checkpoint: score} or {dataset: {checkpoint: score}}. Checkpoints named in
    several rows (seeds) get the mean.

    Args:
        path: a .csv, .tsv, .json or .jsonl file.
        metric: the column of the scores; where it is None, "score" or the only column with numbers.
        lower_is_better: of the scores.

    Raises:
        EmmsError: the file cannot be read, or it doesn't say which column is which.
    """
    rows = _rows(path)
    if not rows:
        raise EmmsError(f"{path} has no rows", "write one line for each checkpoint below a header: checkpoint,score")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    checkpoint = _named(columns, _CHECKPOINT)
    if checkpoint is None:
        raise EmmsError(
            f"{path} has no column with checkpoints; its columns are {_listed(columns)}",
            f"name one of them {_CHECKPOINT[0]!r}",
        )
    dataset = _named(columns, _DATASET)
    score = _score_column(path, rows, [name for name in columns if name not in (checkpoint, dataset)], metric)
    truth = _averaged(path, rows, (checkpoint, dataset, score), lower_is_better)
    if lower_is_better or _LOSSES.isdisjoint(score.lower().replace("-", "_").split("_")):
        return truth
    note = f"{score!r} was read as higher is better; {use('lower_is_better', True)} turns it round"
    return replace(truth, notes=(single_line(note), *truth.notes))


def truth_from_rankings(rankings: Sequence[Ranking]) -> Truth:
    """What fine-tuning has measured of the rankings' checkpoints, in points, see `Row.fine_tuned`.

    Raises:
        EmmsError: nothing was fine-tuned in one of them, or they measured different things.
    """
    scores: dict[str | None, dict[str, float]] = {}
    metrics = set()
    for ranking in rankings:
        results = {row.checkpoint: row.fine_tuned for row in ranking.fine_tuned if row.fine_tuned is not None}
        if not results:
            raise EmmsError(
                f"the ranking of {ranking.dataset!r} has no fine-tuned checkpoint",
                "hf-emms confirm --ranking FILE fine-tunes the best ones; or " + _OWN_RESULTS,
            )
        metrics |= {result.metric for result in results.values()}
        scores[ranking.dataset_id] = {name: 100 * (result.value or 0.0) for name, result in results.items()}
    if len(metrics) > 1 and len(rankings) == 1:
        raise EmmsError(f"the ranking's checkpoints were measured by {', '.join(sorted(metrics))}", _OWN_RESULTS)
    note = "the truth is of checkpoints that a ranking put first: agreement among them is lower than among all"
    return Truth("the rankings' own fine-tunings", ", ".join(sorted(metrics)), scores, False, (note,))


def _number_of(value: Any) -> float | None:
    """A finite number from a cell ("84.2", "84.2%", 84.2), or None."""
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
        raise EmmsError(f"{path} has no number in column {score!r}", use("metric", "NAME") + " names another column")
    notes = []
    if empty:
        notes.append(f"no number in column {score!r}: {_listed(empty)}")
    if repeated := [name for table in tables.values() for name, values in table.items() if len(values) > 1]:
        notes.append(f"several rows, averaged: {_listed(dict.fromkeys(repeated))}")
    means = {key: {name: sum(all) / len(all) for name, all in table.items()} for key, table in tables.items()}
    return Truth(str(path), score, means, lower, tuple(map(single_line, notes)))


def _rows(path: Path) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise EmmsError(
            f"{path}: the suffix {path.suffix!r} says no format that hf-emms reads",
            f"the truth is a file that ends in {', '.join(_SUFFIXES)}",
        )
    try:
        text = decoded(path.read_bytes())
        if suffix == ".json":
            data = json.loads(text)
        elif suffix == ".jsonl":
            data = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            delimiter = max("\t;,", key=text.partition("\n")[0].count)
            data = [*csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)]
    except OSError as error:
        raise EmmsError(
            f"cannot read {path}: {error.strerror or error}", "name another file of the " + use("truth")
        ) from error
    except (ValueError, RecursionError, csv.Error) as error:  # also text that is not UTF-8
        raise EmmsError(f"{path} cannot be read as {suffix[1:]}: {error}", "save it as UTF-8") from error
    if suffix.startswith(".json"):
        return _json_rows(path, data)
    return [{str(name).strip(): value for name, value in row.items() if name is not None} for row in data]


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
        f"{path} holds no table of scores",
        'write [{"checkpoint": …, "score": …}, …], {"CHECKPOINT": SCORE} or {"DATASET": {"CHECKPOINT": SCORE}}',
    )


def _score_column(path: Path, rows: Sequence[Mapping[str, Any]], columns: list[str], metric: str | None) -> str:
    if metric is not None:
        if metric not in columns:
            raise EmmsError(f"{path} has no column {metric!r}", use("metric") + f" is one of: {_listed(columns)}")
        return metric
    numeric = [name for name in columns if any(_number_of(row.get(name)) is not None for row in rows)]
    if _SCORE in numeric:
        return _SCORE
    if len(numeric) != 1:
        what = f"several columns with numbers: {_listed(numeric)}" if numeric else "no column with numbers"
        raise EmmsError(f"{path} has {what}", use("metric", "NAME") + " says which column holds the scores")
    return numeric[0]


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    by_name = {name.lower().replace(" ", "_"): name for name in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"


def matched(rows: Sequence[Row], names: Iterable[str]) -> dict[str, str]:
    """Pairs checkpoints of a ranking with the names of a table.

    The same text always means the same checkpoint. Otherwise ``ORG/NAME`` means ``ORG/NAME@REVISION`` where only one
    state of it is there on either side, and two revisions have to agree, be it by the commit of the row. Upper and
    lower case differ, as they do on the Hub's pages.
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


def stopped_early(rows: Iterable[Row]) -> str | None:
    """The checkpoints that a race stopped before they had seen all rows, in words; None where there are none."""
    names = [row.checkpoint for row in rows if row.n is not None]
    many = "scores are of fewer rows, which compare roughly at most"
    return f"{', '.join(names)} stopped early in a race: their {many}" if names else None


def dataset_of(ranking: Ranking, names: Iterable[str | None]) -> str | None:
    """The name that a table has for a ranking's dataset; None in a table that names none."""
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
        f"the truth has nothing on {ranking.dataset!r} ({ranking.dataset_id})",
        f"it has: {', '.join(map(str, datasets))}",
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


def truth_from_cards(rankings: Sequence[Ranking], *, metric: str | None = None, lower_is_better: bool = False) -> Truth:
    """Reads the evaluation results for each ranking's dataset from the cards of its checkpoints.

    Of the type of the metric, by default of the one that most of the cards report. A note on each value says which card
    it came from.

    Raises:
        EmmsError: no card can be had, or none has a result, or two metrics are equally common.
    """
    scores: dict[str | None, dict[str, float]] = {}
    names, notes = [], []
    for ranking in rankings:
        results, problems = _card_results(ranking)
        notes += problems
        chosen = metric or _commonest_metric(ranking, results)
        table = {}
        for id, (repo, evaluations_of_card) in results.items():
            fitting = [result for result in evaluations_of_card if result.metric.lower() == chosen.lower()]
            if fitting:
                table[id] = repo, min(fitting, key=_split_preference)
        if not table:
            present = dict.fromkeys(result.metric for _, all in results.values() for result in all)
            raise EmmsError(
                f"no card has {chosen!r} on {ranking.dataset_id}",
                f"the cards have: {', '.join(present)}" if present else _OWN_RESULTS,
            )
        values, rescaled = _on_one_scale(chosen, {id: result.value for id, (_, result) in table.items()})
        scores[ranking.dataset_id] = values
        names.append(chosen)
        notes += [_in_words(id, repo, result, id in rescaled) for id, (repo, result) in table.items()]
    metrics = ", ".join(dict.fromkeys(names))
    return Truth("model cards", metrics, scores, lower_is_better, tuple(map(single_line, [*notes, _CAUTION])))


def truth_from_leaderboards(rankings: Sequence[Ranking]) -> Truth:
    """Reads the Hub's leaderboard of each ranking's dataset, where it is a benchmark.

    Raises:
        EmmsError: a dataset has no leaderboard, or the Hub cannot be reached.
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
        notes.append(f"{ranking.dataset_id}: {verified} of {len(entries)} results are verified by the Hub")
        if repeated := [id for id, values in values_by_id.items() if len(values) > 1]:
            notes.append(f"several results, averaged: {_listed(repeated)}")
    return Truth("the Hub's leaderboards", "result", scores, False, tuple(map(single_line, [*notes, _CAUTION])))


def _card_results(ranking: Ranking) -> tuple[dict[str, tuple[Repo, list[Evaluation]]], list[str]]:
    """Results on the ranking's dataset, by checkpoint; and what could not be read."""
    results, problems, failures = {}, [], []
    rows = [row for row in ranking.rows if row.error is None]
    for row in rows:
        try:
            repo = resolve(row.checkpoint, "model")
            fitting = [result for result in evaluations(repo) if _is_of_dataset(result, ranking)]
        except EmmsError as error:
            failures.append(error)
            problems.append(f"{row.checkpoint}: {error.message}")
            continue
        if fitting:
            results[row.checkpoint] = repo, fitting
    if rows and len(failures) == len(rows):
        raise EmmsError(f"no model card can be read: {failures[0].message}", failures[0].hint)
    return results, problems


def _is_of_dataset(result: Evaluation, ranking: Ranking) -> bool:
    theirs, ours = result.dataset.lower(), ranking.dataset_id.lower()
    # Old cards name datasets as they were called before they had an owner.
    same = theirs == ours or (("/" in theirs) != ("/" in ours) and theirs.split("/")[-1] == ours.split("/")[-1])
    return same and (result.config is None or ranking.config is None or result.config == ranking.config)


def _commonest_metric(ranking: Ranking, results: Mapping[str, tuple[Repo, list[Evaluation]]]) -> str:
    counts = Counter(name for _, all in results.values() for name in {result.metric.lower() for result in all})
    if not counts:
        raise EmmsError(
            f"no card of the ranked checkpoints has a result on {ranking.dataset_id}",
            _OWN_RESULTS,
        )
    most = max(counts.values())
    common = sorted(name for name, count in counts.items() if count == most)
    if len(common) > 1:
        raise EmmsError(
            f"results of several metrics on {ranking.dataset_id} are in {pluralize(most, 'card')}: {', '.join(common)}",
            use("metric", *common),
        )
    return common[0]


def _split_preference(result: Evaluation) -> int:
    return _SPLITS.index(result.split) if result.split in _SPLITS else len(_SPLITS)


def _on_one_scale(metric: str, values: dict[str, float]) -> tuple[dict[str, float], set[str]]:
    """Some cards write 0.98 and others 98.0: where both occur, shares become per cent."""
    if metric.lower() not in _SHARES or max(values.values()) <= 1:
        return values, set()
    shares = {id for id, value in values.items() if value <= 1}
    return {id: 100 * value if id in shares else value for id, value in values.items()}, shares


def _in_words(id: str, repo: Repo, result: Evaluation, rescaled: bool) -> str:
    where = ", ".join(filter(None, (result.dataset, result.config, result.split)))
    times = " (taken as a share: × 100)" if rescaled else ""
    return f"{id}: {result.metric} {result.value:g}{times} on {where}, from {result.file} at {repo.revision[:12]}"
