"""Where a ranking lies, and what becomes of two that belong to the same place."""

from __future__ import annotations

import hashlib
import json
import re

import msgspec
import numpy as np

from hf_emms.advice import with_advice, without_advice
from hf_emms.errors import EmmsError
from hf_emms.ranking import Encoder, Ranking, Row, Seconds, emms_score, ranked

_SLUG_LENGTH = 60


def path_of(ranking: Ranking) -> str:
    """Where a ranking lies below the folders of a results dataset, without suffix.

    It is the same for rankings whose rows can be compared: same task, dataset (at its revision), config, split,
    columns, sample, seed, folds, label texts, label encoders (at their revisions), estimators and precision.
    """
    digest = hashlib.sha256(json.dumps(_compared(ranking), sort_keys=True).encode()).hexdigest()[:12]
    name = f"{_slug(ranking.config or 'default')}-{_slug(ranking.split)}-n{ranking.n}-seed{ranking.seed}-{digest}"
    return f"{_slug(ranking.task)}/{_slug(ranking.dataset_id)}/{name}"


def merged(old: Ranking | None, new: Ranking) -> Ranking:
    """Both rankings' checkpoints in one; of a checkpoint that both hold, the row of the newer ranking.

    A failed row never takes the place of a score, nor one that a race stopped that of one on all rows. Where `new`
    says nothing that `old` doesn't, the result is `old` itself: times, and what came from a cache, are no results.

    Raises:
        EmmsError: a row has neither a score nor an error.
    """
    new = msgspec.structs.replace(new, rows=tuple(msgspec.structs.replace(row, cached="none") for row in new.rows))
    if old is None:
        return new
    first, second = (new, old) if new.created < old.created else (old, new)
    rows = {row.checkpoint: row for row in first.rows}
    for row in second.rows:
        if _worth(row) >= _worth(rows.get(row.checkpoint, row)):
            rows[row.checkpoint] = row
    first_estimator = second.estimators[0]
    for row in rows.values():
        if row.error is None and first_estimator not in row.scores:
            raise EmmsError(f"the row of {row.checkpoint!r} in {path_of(second)} has no score by {first_estimator!r}")
    both = ranked(tuple(rows.values()), first_estimator)
    head = without_advice(second)
    whole = with_advice(msgspec.structs.replace(head, rows=both, encoders=_weighted(head.encoders, both)))
    return old if _essence(whole) == _essence(old) else whole


def _worth(row: Row) -> float:
    """Rows that a row's score rests on: 0 for a failed one, infinity for all."""
    return 0.0 if row.error is not None else row.n or float("inf")


def _compared(ranking: Ranking) -> dict[str, object]:
    return {
        "task": ranking.task,
        "dataset": [ranking.dataset_id, ranking.dataset_revision, ranking.config, ranking.split],
        "columns": ranking.columns,
        "sizes": [ranking.n, ranking.n_inputs, ranking.n_labels],
        "sample": [ranking.max_samples, ranking.sampling, ranking.captions, ranking.seed],
        "labels": [
            ranking.prompt,
            ranking.label_form,
            ranking.box_format,
            *([encoder.id, encoder.revision] for encoder in ranking.encoders),
        ],
        "scores": [ranking.folds, ranking.estimators, ranking.dtype, *([ranking.layers] if ranking.layers else [])],
    }


def _slug(text: str) -> str:
    """A piece of a path that every file system takes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "--", text).strip("-.")[:_SLUG_LENGTH] or "x"


def _weighted(encoders: tuple[Encoder, ...], rows: tuple[Row, ...]) -> tuple[Encoder, ...]:
    """The encoders with their mean weights in the EMMS scores of these rows."""
    scores = [score for row in rows if (score := emms_score(row.scores))]
    weights = [score.details.get("weights") for score in scores]
    known = [weight for weight in weights if weight is not None and len(weight) == len(encoders)]
    if not known:
        return encoders
    means = np.mean(known, axis=0).tolist()
    return tuple(msgspec.structs.replace(encoder, weight=mean) for encoder, mean in zip(encoders, means, strict=True))


def _essence(ranking: Ranking) -> Ranking:
    """What two publications of the same result share."""
    rows = tuple(msgspec.structs.replace(row, seconds=Seconds(), cached="none") for row in ranking.rows)
    encoders = tuple(msgspec.structs.replace(encoder, weight=None) for encoder in ranking.encoders)
    head = without_advice(ranking)
    return msgspec.structs.replace(head, created="", device="", dataset="", rows=rows, encoders=encoders)
