"""Checks of a ranking: what follows from its fold scores is computed anew, impossible values are refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from hf_emms.ranking import EMMS, Ranking, Row, is_commit, ranked
from hf_emms.scoring import Score

_LONGEST_NAME = 200
_TOLERANCE = 1e-6
# Beyond it sums of squares overflow.
_LARGEST = 1e100
# A clock may be ahead, and time zones are a day apart.
_AHEAD = timedelta(days=1)


def recomputed(ranking: Ranking) -> Ranking:
    """Return the ranking with standard errors, order and ranks as its fold scores give them.

    A score beyond all bounds is dropped; a row without a score counts as failed.
    """
    first = ranking.estimators[0]
    rows = []
    for row in ranking.rows:
        scores = {name: _with_stderr(name, score) for name, score in row.scores.items() if _bounded(score)}
        error = row.error if first in scores or row.error is not None else f"its {first} score is out of bounds"
        rows.append(msgspec.structs.replace(row, scores=scores, error=error))
    return msgspec.structs.replace(ranking, rows=ranked(rows, first))


def impossible(ranking: Ranking) -> str | None:
    """Return the first impossible value in a ranking: its place in the file and the fault; None if there is none."""
    return next((f"{place} {problem}" for place, problem in _problems(ranking)), None)


def _with_stderr(name: str, score: Score) -> Score:
    """Return a score with the standard error over its folds, where folds give it: not for bits per byte of all rows."""
    if name not in EMMS or len(score.folds) < 2:
        return score
    return dataclasses.replace(score, stderr=float(np.std(score.folds, ddof=1) / math.sqrt(len(score.folds))))


def _bounded(score: Score) -> bool:
    return all(abs(value) <= _LARGEST for value in (score.value, score.stderr or 0.0, *score.folds))


def _problems(ranking: Ranking) -> Iterator[tuple[str, str]]:
    for name in ("dataset", "dataset_id", "task", "split"):
        yield from _named(name, getattr(ranking, name))
    yield from _created(ranking.created)
    yield from _is_id("dataset_id", ranking.dataset_id, ranking.dataset_revision)
    for name in ("n", "n_inputs", "n_labels"):
        yield from _at_least(name, getattr(ranking, name), 1)
    for place, encoder in enumerate(ranking.encoders):
        yield from _is_id(f"encoders[{place}].id", encoder.id, encoder.revision)
    seen: dict[tuple[str, str | None], int] = {}
    for place, row in enumerate(ranking.rows):
        same = seen.setdefault((row.checkpoint.partition("@")[0], row.revision), place)
        if same != place:
            yield f"rows[{place}].checkpoint", f"is in the list twice: it is that of rows[{same}]"
        for where, problem in _of_row(row, ranking):
            yield f"rows[{place}].{where}", problem
    folds = {len(row.scores[ranking.estimators[0]].folds) for row in ranking.rows if row.error is None and not row.n}
    if len(folds) > 1:
        yield "rows", f"should have the same folds, but have {' and '.join(map(str, sorted(folds)))}"


def _of_row(row: Row, ranking: Ranking) -> Iterator[tuple[str, str]]:
    yield from _named("checkpoint", row.checkpoint)
    yield from _is_id("checkpoint", row.checkpoint.partition("@")[0], row.revision)
    if row.revision is not None and not is_commit(row.revision) and not row.revision.startswith("local-"):
        yield "revision", "should be a commit of 40 hex digits, or local- and a content hash"
    for name in ("parameters", "width", "n"):
        yield from _at_least(name, getattr(row, name), 1)
    if row.n is not None and row.n > ranking.n:
        yield "n", f"should be at most the {ranking.n:,} rows of the ranking"
    yield from _at_least("seconds.features", row.seconds.features, 0)
    yield from _at_least("seconds.scoring", row.seconds.scoring, 0)
    if row.fine_tuned is not None:
        for name in ("value", "validation", "spread"):
            share = getattr(row.fine_tuned, name)
            if share is not None and not abs(share) <= _LARGEST:
                yield f"fine_tuned.{name}", f"should be between -{_LARGEST:g} and {_LARGEST:g}"
        yield from _at_least("fine_tuned.spread", row.fine_tuned.spread, 0)
        yield from _at_least("fine_tuned.stderr", row.fine_tuned.stderr, 0)
    for name, score in row.scores.items():
        for where, problem in _of_score(name, score):
            yield f"scores.{name}.{where}", problem


def _of_score(name: str, score: Score) -> Iterator[tuple[str, str]]:
    if not _bounded(score):
        yield "value", f"should be between -{_LARGEST:g} and {_LARGEST:g}, and so should its folds"
    if name in EMMS and score.value > 0:
        yield "value", "should be 0 or less: EMMS is a held-out error with a minus before it"
    if name == "knn" and score.value > 1:
        yield "value", "should be at most 1: an accuracy or explained share"
    if score.folds:
        low, high = min(score.folds), max(score.folds)
        slack = _TOLERANCE * max(abs(low), abs(high))
        if not low - slack <= score.value <= high + slack:
            yield "value", f"should be a mean of its folds, between {low:g} and {high:g}"
    yield from _at_least("stderr", score.stderr, 0)
    r2 = score.details.get("r2")
    if r2 is not None and not (isinstance(r2, int | float) and r2 <= 1):
        yield "details.r2", "should be a number of at most 1"


def _named(place: str, text: str) -> Iterator[tuple[str, str]]:
    if not text.strip() or len(text) > _LONGEST_NAME:
        yield place, f"should have 1 to {_LONGEST_NAME} characters"


def _created(text: str) -> Iterator[tuple[str, str]]:
    try:
        made = datetime.fromisoformat(text)
    except ValueError:
        yield "created", "should be a time such as 2026-11-25T12:00:00+00:00"
        return
    if made.replace(tzinfo=made.tzinfo or UTC) > datetime.now(UTC) + _AHEAD:
        yield "created", "is in the future"


def _is_id(place: str, id: str, revision: str | None) -> Iterator[tuple[str, str]]:
    """Yield a problem where a revision is a commit of the Hub, but the id is no id of the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not is_commit(revision):
        return
    try:
        validate_repo_id(id)
    except HFValidationError:
        yield place, "has a commit of the Hub, but is no id of the Hub, ORG/NAME"


def _at_least(place: str, value: float | None, least: int) -> Iterator[tuple[str, str]]:
    if value is not None and value < least:
        yield place, f"should be at least {least}, but is {value:g}"
