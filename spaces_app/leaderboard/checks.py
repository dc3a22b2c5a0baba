"""Check rankings, of a folder and of the tab Submit alike.

The checks reject impossible values, recompute ranks and standard errors from the fold scores, and remark on suspicious
values.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from datetime import datetime

import msgspec
import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.ranking import EMMS, FineTuned, Ranking, Row, is_commit, ranked
from hf_emms.ranking.advice import recommendation
from hf_emms.ranking.text import to_text
from hf_emms.scoring import Score
from hf_emms.scoring.quantity import quantity_of_metric

_LONGEST_NAME = 200
# Larger numbers break tables.
_LARGEST = 1e12
_NO_NUMBER = re.compile(rb"[:\[,]\s*(NaN|-?Infinity)\b")


@dataclasses.dataclass(frozen=True)
class Checked:
    """A valid ranking, and remarks on suspicious values."""

    ranking: Ranking
    remarks: tuple[str, ...]


def read(data: bytes) -> Checked:
    """Parse and check a JSON file.

    Raises:
        EmmsError: The file is not a ranking, or has an impossible value.
    """
    try:
        return checked(Ranking.from_json(data))
    except EmmsError as error:
        if wrong := _NO_NUMBER.search(data):
            raise EmmsError(
                "impossible-value", f"{wrong[1].decode()} is not a number: set the error of a row without a score"
            ) from error
        raise


def checked(ranking: Ranking) -> Checked:
    """Check a ranking and recompute its order; raise an EmmsError for its first impossible value."""
    if first := next(_problems(ranking), None):
        raise EmmsError("impossible-value", " ".join(first))
    anew = recomputed(ranking)
    given = {row.checkpoint: row.rank for row in ranking.rows}
    moved = [row.checkpoint for row in anew.rows if row.rank != given[row.checkpoint]]
    _check_shown(anew)
    return Checked(anew, (f"{pluralize(len(moved), 'rank')} did not match the scores and changed",) if moved else ())


def _check_shown(ranking: Ranking) -> None:
    """Raise an EmmsError if a ranking cannot be described, so that it is left out and stops no other ranking."""
    try:
        to_text(ranking)
        recommendation(ranking)
    except Exception as error:
        raise EmmsError("impossible-value", f"it cannot be shown: {type(error).__name__}: {error}") from error


def recomputed(ranking: Ranking) -> Ranking:
    """Recompute standard errors, order and ranks from the fold scores."""
    rows = [
        msgspec.structs.replace(row, scores={name: _with_stderr(name, score) for name, score in row.scores.items()})
        for row in ranking.rows
    ]
    return msgspec.structs.replace(ranking, rows=ranked(rows, ranking.estimators[0]))


def _with_stderr(name: str, score: Score) -> Score:
    """Recompute the standard error over folds, except for scores that are not means over folds."""
    if name not in EMMS or len(score.folds) < 2:
        return score
    return dataclasses.replace(score, stderr=float(np.std(score.folds, ddof=1) / math.sqrt(len(score.folds))))


def _problems(ranking: Ranking) -> Iterator[tuple[str, str]]:
    for name in ("dataset", "dataset_id", "task", "split"):
        yield from _named(name, getattr(ranking, name))
    for place, name in enumerate(ranking.estimators):
        yield from _named(f"estimators[{place}]", name)
    yield from _created(ranking.created)
    yield from _is_id("dataset_id", ranking.dataset_id, ranking.dataset_revision)
    for place, encoder in enumerate(ranking.encoders):
        yield from _is_id(f"encoders[{place}].id", encoder.id, encoder.revision)
    seen: dict[tuple[str, str | None], int] = {}
    for place, row in enumerate(ranking.rows):
        same = seen.setdefault((row.checkpoint.partition("@")[0].casefold(), row.revision), place)
        if same != place:
            yield f"rows[{place}].checkpoint", f"is listed twice, see rows[{same}]"
        for where, problem in _of_row(row, ranking):
            yield f"rows[{place}].{where}", problem
    for place, row in enumerate(ranking.baselines):
        for where, problem in _of_row(row, ranking):
            yield f"baselines[{place}].{where}", problem
    folds = {len(row.scores[ranking.estimators[0]].folds) for row in ranking.rows if row.error is None}
    if len(folds) > 1:
        yield "rows", f"should have the same number of folds, but have {' and '.join(map(str, sorted(folds)))}"


def _of_row(row: Row, ranking: Ranking) -> Iterator[tuple[str, str]]:
    yield from _named("checkpoint", row.checkpoint)
    yield from _is_id("checkpoint", row.checkpoint.partition("@")[0], row.revision)
    if row.revision is not None and not is_commit(row.revision) and not row.revision.startswith("local-"):
        yield "revision", "should be a commit of 40 hex digits, or local- and a content hash"
    for name in ("library", "license", "architecture", "layer"):
        if (text := getattr(row, name)) is not None:
            yield from _named(name, text)
    if row.fine_tuned is not None:
        for where, problem in _of_fine_tuned(row.fine_tuned):
            yield f"fine_tuned.{where}", problem
    for name, score in row.scores.items():
        for where, problem in _of_score(name, score):
            yield f"scores.{name}.{where}", problem


def _of_fine_tuned(result: FineTuned) -> Iterator[tuple[str, str]]:
    yield from _named("metric", result.metric)
    baseline = None if result.baseline is None else result.baseline.value
    shares = {"value": result.value, "validation": result.validation, "baseline.value": baseline}
    for where, share in shares.items():
        yield from _in_range_of(where, result.metric, share)
    for metric, share in result.scores.items():
        yield from _in_range_of(f"scores.{metric}", metric, share)


def _in_range_of(place: str, metric: str, share: float | None) -> Iterator[tuple[str, str]]:
    quantity = quantity_of_metric(metric)
    low, high = max(quantity.low, -_LARGEST), quantity.high
    if share is not None and not low <= share <= high:
        yield place, f"should be between {low:g} and {high:g}, as each {metric} is, but is {share:g}"


def _of_score(name: str, score: Score) -> Iterator[tuple[str, str]]:
    if not all(abs(value) <= _LARGEST for value in (score.value, *score.folds)):
        yield "value", f"should be between -{_LARGEST:g} and {_LARGEST:g}, and so should its folds"
    if not 0 <= (score.stderr or 0.0) <= _LARGEST:
        yield "stderr", f"should be between 0 and {_LARGEST:g}"
    if name in EMMS and score.value > 0:
        yield "value", "should be 0 or less: EMMS is a negative held-out error"
    if name == "knn" and score.value > 1:
        yield "value", "should be at most 1: it is an accuracy or R²"
    r2 = score.details.get("r2")
    if r2 is not None and not (isinstance(r2, int | float) and r2 <= 1):
        yield "details.r2", "should be a number of at most 1"


def _named(place: str, text: str) -> Iterator[tuple[str, str]]:
    if not text.strip() or len(text) > _LONGEST_NAME:
        yield place, f"should have 1 to {_LONGEST_NAME} characters"


def _created(text: str) -> Iterator[tuple[str, str]]:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        yield "created", "should be a time such as 2026-11-25T12:00:00+00:00"


def _is_id(place: str, id: str, revision: str | None) -> Iterator[tuple[str, str]]:
    """Yield a problem if the revision is a commit of the Hub, but the id is not a Hub id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not is_commit(revision):
        return
    try:
        validate_repo_id(id)
    except HFValidationError:
        yield place, "has a commit of the Hub, but is not a Hub id, ORG/NAME"
