"""Combine rankings: the path of a ranking in a results dataset, and merged rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec
import numpy as np

from hf_emms.options import SETTINGS
from hf_emms.ranking.columns import estimator_named
from hf_emms.ranking.public_results import with_published_values
from hf_emms.ranking.records import Encoder, Part, RankingData, Row, Seconds, emms_score, ranked
from hf_emms.scoring.estimators import Estimator
from hf_emms.scoring.generative import TRAINING_ROWS

R = TypeVar("R", bound=RankingData)

# The folder of a results dataset with one JSON file per ranking.
JSON_FOLDER = "rankings"
# A pull request adds a file of its own, so that pull requests never conflict: PATH.submitted-DIGEST.json.
_SUBMITTED = ".submitted-"

_SLUG_LENGTH = 60


def path_of(ranking: RankingData) -> str:
    """Return the path of a ranking in a results dataset, without folder and suffix.

    Rankings have the same path if their rows are comparable: the same task, dataset (at its revision), config, split,
    columns, sample, label encoders (at their revisions), estimators and settings. A setting without a value counts as
    absent.
    """
    compared = {
        name: value
        for name, value in ranking.settings.items()
        if value and (name not in SETTINGS or SETTINGS[name].compared)
    }
    encoders = [(encoder.id, encoder.revision) for encoder in ranking.encoders]
    sizes = (ranking.n, ranking.n_inputs, ranking.n_labels)
    dataset = (ranking.dataset_id, ranking.dataset_revision, ranking.config, ranking.split)
    content = [ranking.task, dataset, ranking.columns, sizes, encoders, ranking.estimators, compared]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    seed = _slug(str(ranking.settings.get("seed")))
    name = f"{_slug(ranking.config or 'default')}-{_slug(ranking.split)}-n{ranking.n}-seed{seed}-{digest}"
    return f"{_slug(ranking.task)}/{_slug(ranking.dataset_id)}/{name}"


def submission_path(ranking: RankingData) -> str:
    """Return the path of a ranking in a pull request: `path_of` and a digest of the rows."""
    content = json.dumps(msgspec.to_builtins(_results(ranking)), sort_keys=True).encode()
    return f"{path_of(ranking)}{_SUBMITTED}{hashlib.sha256(content).hexdigest()[:12]}"


def ranking_path(path: str) -> str:
    """Return the path of the ranking to which a file belongs, which may be a submission."""
    return path.partition(_SUBMITTED)[0]


def merged(old: R | None, new: R) -> R:
    """Return a ranking with the checkpoints of both rankings. The newer ranking wins for checkpoints that both contain.

    A failed row never replaces a score. The fine-tuned scores of a revision stay until it is fine-tuned again. If `new`
    adds nothing, the result is `old`: times and the use of the cache do not count. A part is missing if neither ranking
    has it, and one of its checkpoints has no row.
    """
    new = msgspec.structs.replace(new, rows=tuple(msgspec.structs.replace(row, cached="none") for row in new.rows))
    if old is None:
        return new
    first, second = (new, old) if new.created < old.created else (old, new)
    rows = {row.checkpoint: row for row in first.rows}
    for row in second.rows:
        earlier = rows.get(row.checkpoint, row)
        if row.error is None or earlier.error is not None:
            stays = row.fine_tuned is None and row.revision == earlier.revision
            fine_tuned = earlier.fine_tuned if stays else row.fine_tuned
            rows[row.checkpoint] = msgspec.structs.replace(row, fine_tuned=fine_tuned)
    whole = with_rows(second, rows.values(), second.encoders or first.encoders)
    parts, missing = _parts(first, second, rows)
    baselines = second.baselines or first.baselines
    whole = msgspec.structs.replace(whole, baselines=baselines, parts=parts, missing_parts=missing)
    return old if _results(whole) == _results(old) else whole


def _parts(first: R, second: R, rows: Collection[str]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return the parts of two merged rankings, and the missing ones; both are empty if no part is missing."""
    parts = {*first.parts, *second.parts}
    others = {*first.missing_parts, *second.missing_parts} - parts
    missing = [part for part in others if not set(part.checkpoints) <= set(rows)]
    return (_in_order(parts), _in_order(missing)) if missing else ((), ())


def _in_order(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda part: (len(part.name), part.name, part.checkpoints)))


def with_rows(ranking: R, rows: Iterable[Row], encoders: tuple[Encoder, ...]) -> R:
    """Return the ranking of these rows in any order, with the mean weights of its encoders in their scores."""
    estimator = estimator_named(ranking.estimators[0])
    ordered = ranked(tuple(rows), estimator.name)
    whole = msgspec.structs.replace(
        ranking,
        rows=ordered,
        encoders=_weighted(encoders, ordered),
        reason=_reason(estimator, ordered),
    )
    return with_published_values(whole)


def _reason(estimator: Estimator, rows: Iterable[Row]) -> str:
    """Return why an estimator orders the rows."""
    reason = estimator.reason
    trained = [
        row.scores[estimator.name].details.get("training_rows", TRAINING_ROWS) for row in rows if row.error is None
    ]
    fewest = min(trained, default=TRAINING_ROWS)
    return f"{reason} Here it trained on {fewest}." if reason and fewest < TRAINING_ROWS else reason


def _slug(text: str) -> str:
    """Return a text as a part of a path that every file system accepts."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "--", text).strip("-.")[:_SLUG_LENGTH] or "x"


def _weighted(encoders: tuple[Encoder, ...], rows: tuple[Row, ...]) -> tuple[Encoder, ...]:
    """Return the encoders with their mean weights in the EMMS scores of these rows."""
    scores = [score for row in rows if (score := emms_score(row.scores))]
    weights = [score.details.get("weights") for score in scores]
    complete = [weight for weight in weights if weight is not None and len(weight) == len(encoders)]
    if not complete:
        return encoders
    means = np.mean(complete, axis=0).tolist()
    return tuple(msgspec.structs.replace(encoder, weight=mean) for encoder, mean in zip(encoders, means, strict=True))


def _results(ranking: R) -> R:
    """Return the results of a ranking without fields that differ between equal runs, such as times."""
    return msgspec.structs.replace(
        ranking,
        created="",
        funnel=(),
        dataset="",
        settings={name: value for name, value in ranking.settings.items() if value and name != "device"},
        rows=_without_times(ranking.rows),
        baselines=_without_times(ranking.baselines),
        encoders=tuple(msgspec.structs.replace(encoder, weight=None) for encoder in ranking.encoders),
    )


def _without_times(rows: Iterable[Row]) -> tuple[Row, ...]:
    unknown = dict.fromkeys(("documents_per_second", "machine", "memory", "downloads"))
    return tuple(msgspec.structs.replace(row, seconds=Seconds(), cached="none", **unknown) for row in rows)
