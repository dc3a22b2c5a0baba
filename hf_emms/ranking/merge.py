"""Rankings with the same settings: the path that they share in a results dataset, and their rows in one ranking.

The leaderboard Space is published with this module.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from hf_emms.options import SETTINGS
from hf_emms.ranking.order import ranked
from hf_emms.ranking.records import Encoder, RankingData, Row, Seconds, emms_score

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
