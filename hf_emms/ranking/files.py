"""Write a ranking to a file, and read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from hf_emms.errors import EmmsError
from hf_emms.ranking import text as views
from hf_emms.ranking.records import RankingData, Row
from hf_emms.ranking.verdict import verdict

R = TypeVar("R", bound=RankingData)

_WRITES_JSON = "hf-emms rank … --format json writes one"


def to_json(ranking: RankingData, *, indent: int | None = 2) -> str:
    """Return the complete ranking as JSON, with its verdict, which `from_json` makes again."""
    text = msgspec.json.encode(msgspec.to_builtins(ranking) | {"verdict": verdict(ranking)})
    return (msgspec.json.format(text, indent=indent) if indent else text).decode()


# Suffix of a file → its writer. Only JSON stores the complete ranking.
WRITERS: Mapping[str, Callable[[RankingData], str]] = {
    "json": to_json,
    "csv": views.to_csv,
    "md": views.to_markdown,
    "txt": views.to_text,
}


def from_json(text: str | bytes, kind: type[R]) -> R:
    """Return the ranking of a JSON text, see `Ranking.from_json`."""
    try:
        ranking = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # also a field of the wrong type
        raise EmmsError("not-a-ranking", f"this is not a ranking: {error}", _WRITES_JSON) from error
    problem = next(problems(ranking), None)
    if problem is not None:
        raise EmmsError("not-a-ranking", f"this is not a ranking: {problem}", _WRITES_JSON)
    return ranking


def problems(ranking: RankingData) -> Iterator[str]:
    """Yield the faults of a decoded ranking, each with its field."""
    if not ranking.rows or not ranking.estimators:
        yield f"{'estimators' if ranking.rows else 'rows'} is empty: a ranking needs at least a row and an estimator"
        return
    first = ranking.estimators[0]
    for place, row in enumerate(ranking.rows):
        if row.error is None and first not in row.scores:
            yield f"rows[{place}] has neither a score of {first} nor an error"
        elif row.error is None and (row.rank is None or row.rank < 1):
            yield f"rows[{place}].rank should be 1 or more, for it has a score"
        for name, problem in _wrong_numbers(row):
            yield f"rows[{place}].scores.{name}.{problem}"
    for place, row in enumerate(ranking.baselines):
        if unknown := next((name for name in row.scores if name not in ranking.estimators), None):
            yield f"baselines[{place}].scores.{unknown} is not one of the estimators"
        for name, problem in _wrong_numbers(row):
            yield f"baselines[{place}].scores.{name}.{problem}"


def _wrong_numbers(row: Row) -> Iterator[tuple[str, str]]:
    """Yield each estimator whose details have a wrong type, and the fault."""
    for name, score in row.scores.items():
        weights = score.details.get("weights", [])
        if not isinstance(score.details.get("r2"), float | int | None):
            yield name, "details.r2 should be a number or null"
        elif not (isinstance(weights, list) and all(isinstance(weight, float | int) for weight in weights)):
            yield name, "details.weights should be a list of numbers"
