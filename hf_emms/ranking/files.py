"""A ranking as a JSON or Parquet file, and back without loss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hf_emms.errors import EmmsError
from hf_emms.files import atomic_file
from hf_emms.ranking.advice import advice
from hf_emms.ranking.columns import flat_records
from hf_emms.ranking.records import SCHEMA_VERSION, RankingData, Row

R = TypeVar("R", bound=RankingData)

_PARQUET_KEY = b"hf_emms.ranking.records"
_WRITES_JSON = "hf-emms rank … --format json writes one"


def to_json(ranking: RankingData, *, indent: int | None = 2) -> str:
    """See `Ranking.to_json`."""
    text = msgspec.json.encode(ranking)
    return (msgspec.json.format(text, indent=indent) if indent else text).decode()


def from_json(text: str | bytes, kind: type[R]) -> R:
    """See `Ranking.from_json`."""
    try:
        version = msgspec.json.decode(text, type=_Versioned).schema_version
        if version > SCHEMA_VERSION:
            raise EmmsError(
                f"the ranking has schema version {version}; only versions up to {SCHEMA_VERSION} can be read",
                "install a newer hf-emms",
            )
        if version < SCHEMA_VERSION:
            ranking = _from_version_1(msgspec.json.decode(text), kind)
        else:
            ranking = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # also a field of the wrong type
        raise EmmsError(f"this is not a ranking: {_explained(str(error))}", _WRITES_JSON) from error
    problem = next(_problems(ranking), None)
    if problem is not None:
        raise EmmsError(f"this is not a ranking: {problem}", _WRITES_JSON)
    # hf_emms 0.1.0 wrote the advice into the notes; it is computed where it is shown.
    notes = tuple(note for note in ranking.notes if note != advice(ranking))
    return msgspec.structs.replace(ranking, notes=notes)


def to_parquet(ranking: RankingData, path: Path) -> None:
    """Writes one flat row a checkpoint; the file's metadata holds the whole ranking."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(flat_records(ranking))
    table = table.replace_schema_metadata({_PARQUET_KEY: to_json(ranking, indent=None).encode()})
    with atomic_file(path) as file:
        pq.write_table(table, file)


def from_parquet(path: Path, kind: type[R]) -> R:
    """Reads what `to_parquet` wrote, without loss; an EmmsError where the file is not there or no such file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise EmmsError(
            f"cannot read {path.name} as Parquet: it is missing or damaged",
            "hf-emms rank … --output FILE.parquet writes one",
        ) from error
    if _PARQUET_KEY not in metadata:
        raise EmmsError(
            f"{path.name} is Parquet, but hf_emms has not written it", "hf-emms rank … --output ranking.parquet"
        )
    return from_json(metadata[_PARQUET_KEY], kind)


def _problems(ranking: RankingData) -> Iterator[str]:
    """What a file that can be decoded has wrong."""
    if not ranking.rows or not ranking.estimators:
        yield f"{'estimators' if ranking.rows else 'rows'} is empty: a ranking needs at least one row and one estimator"
        return
    first = ranking.estimators[0]
    for place, row in enumerate(ranking.rows):
        if row.error is None and first not in row.scores:
            yield f"rows[{place}] has neither a score of {first} nor an error"
        elif row.error is None and (row.rank is None or row.rank < 1):
            yield f"rows[{place}].rank should be 1 or more, for it has a score"
        for name, problem in _wrong_numbers(row):
            yield f"rows[{place}].scores.{name}.{problem}"


def _wrong_numbers(row: Row) -> Iterator[tuple[str, str]]:
    """Estimators with details that are read as numbers, and are none."""
    for name, score in row.scores.items():
        weights = score.details.get("weights", [])
        if not isinstance(score.details.get("r2"), float | int | None):
            yield name, "details.r2 should be a number or null"
        elif not (isinstance(weights, list) and all(isinstance(weight, float | int) for weight in weights)):
            yield name, "details.weights should be a list of numbers"


class _Versioned(msgspec.Struct):
    schema_version: int


class _SettingsOfVersion1(msgspec.Struct, kw_only=True):
    """The settings, each a field of the ranking in version 1."""

    max_samples: int | None = None
    sampling: str | None = None
    race: int | None = None
    references: str | None = msgspec.field(default=None, name="captions")
    prompt: str | None = None
    label_form: str | None = None
    box_format: str | None = None
    seed: int
    folds: int
    device: str = "auto"
    dtype: str = "auto"
    layers: list[str] = []


def _from_version_1(content: dict[str, Any], kind: type[R]) -> R:
    ranking = msgspec.convert(content | {"schema_version": SCHEMA_VERSION}, kind)
    settings = msgspec.structs.asdict(msgspec.convert(content, _SettingsOfVersion1))
    return msgspec.structs.replace(ranking, settings=settings)


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def _explained(problem: str) -> str:
    """What msgspec reports, for whoever made the file."""
    parts = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*)`)?", problem, re.DOTALL)
    what, place = (parts[1], parts[2] or "the file") if parts else (problem, "the file")
    if missing := re.match(r"Object missing required field `(\w+)`", what):
        return f"the field {missing[1]} is missing" + (f" in {place}" if place != "the file" else "")
    if wrong := re.match(r"Expected `([^`]+)`, got `([^`]+)`", what):
        types = " or ".join(_TYPES.get(part.strip(), part.strip()) for part in wrong[1].split("|"))
        return f"{place} should be {types}, but is {_TYPES.get(wrong[2], wrong[2])}"
    if bound := re.match(r"Expected `(?:int|float)` ([<>]=) (\d+)", what):
        return f"{place} should be {'at least' if bound[1] == '>=' else 'at most'} {bound[2]}"
    if re.match(r"JSON is malformed|Input data was truncated|.*codec can't decode", what):
        return "it is not JSON: " + re.sub("^[A-Z](?![A-Z])", lambda first: first[0].lower(), what)
    return what
