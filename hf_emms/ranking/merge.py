"""Several rankings: the path of those with the same settings, their rows in one, and mean ranks on other datasets."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeVar

import msgspec
import numpy as np

from hf_emms.options import SETTINGS
from hf_emms.ranking.records import Encoder, RankingData, Row, Seconds, emms_score, is_commit, ranked

R = TypeVar("R", bound=RankingData)

# Folder of a results dataset with a JSON file a ranking.
JSON_FOLDER = "rankings"

# The digest of these settings is that of hf_emms 0.1.0, so that paths stay; other settings are added to it.
_SAMPLE = ("max_samples", "sampling", "references", "seed")
_LABELS = ("prompt", "label_form", "box_format")
_SCORES = ("folds", "dtype", "layers")

_SLUG_LENGTH = 60


def path_of(ranking: RankingData) -> str:
    """The path of a ranking below the folders of a results dataset, without suffix.

    It is the same for rankings whose rows can be compared: same task, dataset (at its revision), config, split,
    columns, sample, label encoders (at their revisions), estimators and settings. A setting without a value counts
    as one that is not recorded.
    """
    return results_path(
        task=ranking.task,
        dataset=(ranking.dataset_id, ranking.dataset_revision, ranking.config, ranking.split),
        columns=ranking.columns,
        sizes=(ranking.n, ranking.n_inputs, ranking.n_labels),
        encoders=[(encoder.id, encoder.revision) for encoder in ranking.encoders],
        estimators=ranking.estimators,
        settings=ranking.settings,
    )


def results_path(
    *,
    task: str,
    dataset: tuple[str, str, str | None, str],
    columns: Mapping[str, str],
    sizes: tuple[int, int, int],
    encoders: Iterable[tuple[str, str]],
    estimators: Sequence[str],
    settings: Mapping[str, Any],
) -> str:
    """See `path_of`: of a dataset, its id, revision, config and split; sizes are rows, inputs and labels."""
    compared = {name: value for name, value in settings.items() if name not in SETTINGS or SETTINGS[name].compared}
    sample, labels, (folds, dtype, layers) = (
        [compared.pop(name, None) for name in names] for names in (_SAMPLE, _LABELS, _SCORES)
    )
    others = {name: value for name, value in compared.items() if value}
    content = {
        "task": task,
        "dataset": dataset,
        "columns": columns,
        "sizes": sizes,
        "sample": sample,
        "labels": [*labels, *encoders],
        "scores": [folds, estimators, dtype, *([layers] if layers else [])],
    } | ({"settings": others} if others else {})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    id, _, config, split = dataset
    seed = _slug(str(settings.get("seed")))
    name = f"{_slug(config or 'default')}-{_slug(split)}-n{sizes[0]}-seed{seed}-{digest}"
    return f"{_slug(task)}/{_slug(id)}/{name}"


def merged(old: R | None, new: R) -> R:
    """Both rankings' checkpoints in one; of a checkpoint that both hold, the row of the newer ranking.

    A failed row never replaces a score, nor a row that a race stopped one that was scored on all rows; what fine-tuning
    measured of a revision stays until it is measured again. Where `new` adds nothing to `old`, the result is `old`
    itself: times, and what came from a cache, are no results.
    """
    new = msgspec.structs.replace(new, rows=tuple(msgspec.structs.replace(row, cached="none") for row in new.rows))
    if old is None:
        return new
    first, second = (new, old) if new.created < old.created else (old, new)
    rows = {row.checkpoint: row for row in first.rows}
    for row in second.rows:
        earlier = rows.get(row.checkpoint, row)
        if _rows_scored(row) >= _rows_scored(earlier):
            stays = row.fine_tuned is None and row.revision == earlier.revision
            fine_tuned = earlier.fine_tuned if stays else row.fine_tuned
            rows[row.checkpoint] = msgspec.structs.replace(row, fine_tuned=fine_tuned)
    both = ranked(tuple(rows.values()), second.estimators[0])
    whole = msgspec.structs.replace(second, rows=both, encoders=_weighted(second.encoders, both))
    return old if _results(whole) == _results(old) else whole


def _slug(text: str) -> str:
    """Part of a path that every file system takes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "--", text).strip("-.")[:_SLUG_LENGTH] or "x"


def _rows_scored(row: Row) -> float:
    """Rows that a checkpoint was scored on: 0 for a failed one, infinity for all."""
    return 0.0 if row.error is not None else row.n or math.inf


def _weighted(encoders: tuple[Encoder, ...], rows: tuple[Row, ...]) -> tuple[Encoder, ...]:
    """The encoders with their mean weights in the EMMS scores of these rows."""
    scores = [score for row in rows if (score := emms_score(row.scores))]
    weights = [score.details.get("weights") for score in scores]
    complete = [weight for weight in weights if weight is not None and len(weight) == len(encoders)]
    if not complete:
        return encoders
    means = np.mean(complete, axis=0).tolist()
    return tuple(msgspec.structs.replace(encoder, weight=mean) for encoder, mean in zip(encoders, means, strict=True))


def _results(ranking: R) -> R:
    """The ranking without what differs between two runs with the same result."""
    return msgspec.structs.replace(
        ranking,
        created="",
        dataset="",
        settings={
            name: value for name, value in ranking.settings.items() if value and name not in ("device", "results")
        },
        rows=tuple(
            msgspec.structs.replace(row, seconds=Seconds(), cached="none", downloads=None) for row in ranking.rows
        ),
        encoders=tuple(msgspec.structs.replace(encoder, weight=None) for encoder in ranking.encoders),
    )


def checkpoint_key(row: Row) -> str:
    """What two rows of the same checkpoint have in common: the Hub id at any revision; of a folder, its content."""
    return row.checkpoint.partition("@")[0] if is_commit(row.revision) else row.revision or row.checkpoint


def mean_ranks(rankings: Iterable[RankingData]) -> dict[str, float]:
    """`checkpoint_key` → mean rank over datasets in (0, 1), low is good; see `rank_shares`.

    Every dataset counts once: rankings of the same dataset and configuration are averaged first. What fine-tuning
    measured counts before the estimate: the checkpoints that it measured exchange their places in a ranking.
    """
    by_dataset: dict[tuple[str, str | None], list[RankingData]] = {}
    for ranking in rankings:
        by_dataset.setdefault((ranking.dataset_id, ranking.config), []).append(ranking)
    shares = [mean_shares([rank_shares(_places(ranking)) for ranking in same]) for same in by_dataset.values()]
    return {key: float(share) for key, share in mean_shares(shares).items()}


def static_order(rankings: Iterable[RankingData], task_id: str) -> list[str]:
    """The checkpoints of the Hub in the rankings of a task, those with the best mean rank first."""
    of_task = [ranking for ranking in rankings if ranking.task == task_id]
    on_hub = {checkpoint_key(row) for ranking in of_task for row in ranking.rows if is_commit(row.revision)}
    means = mean_ranks(of_task)
    return [key for key in sorted(means, key=means.__getitem__) if key in on_hub]


def rank_shares(values: Mapping[str, float]) -> dict[str, Fraction]:
    """Ranks of values (high is good) as shares: (rank - ½) / n, the best of four is 1/8; equal values share a rank."""
    from scipy.stats import rankdata

    # Exact fractions: rounding errors would break ties, and move a tau by a hundredth.
    ranks = rankdata([-value for value in values.values()])
    return {name: Fraction(int(2 * rank - 1), 2 * len(values)) for name, rank in zip(values, ranks, strict=True)}


def mean_shares(tables: Sequence[Mapping[str, Fraction]]) -> dict[str, Fraction]:
    """The mean of each name over the tables that have it."""
    names = dict.fromkeys(name for table in tables for name in table)
    shares_by_name = {name: [table[name] for table in tables if name in table] for name in names}
    return {name: sum(shares, Fraction(0)) / len(shares) for name, shares in shares_by_name.items()}


def _places(ranking: RankingData) -> dict[str, float]:
    """`checkpoint_key` → minus the place among those with a rank; a shared rank is the mean of its places."""
    rows = sorted((row for row in ranking.rows if row.rank is not None), key=lambda row: row.rank or 0)
    ranks = [row.rank or 0 for row in rows]
    places = {row.checkpoint: rank + (ranks.count(rank) - 1) / 2 for row, rank in zip(rows, ranks, strict=True)}
    measured = [row for row in ranking.fine_tuned if row.rank is not None]
    held = sorted(rows.index(row) + 1 for row in measured)
    places |= {row.checkpoint: place for row, place in zip(measured, held, strict=True)}
    # Of two revisions of a checkpoint the better one.
    best_last = sorted(rows, key=lambda row: -places[row.checkpoint])
    return {checkpoint_key(row): -places[row.checkpoint] for row in best_last}
