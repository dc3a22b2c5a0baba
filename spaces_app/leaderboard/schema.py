"""The ranking file: what it holds, and in plain words what is wrong with one.

The structures mirror `hf_emms.ranking` (schema version 1), which the Space cannot import; fields that are only here may
be missing in files.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

SCHEMA_VERSION = 1
PARQUET_KEY = b"hf_emms.ranking"
_OPTIONAL = ("downloads", "library", "license")


class NotARankingError(ValueError):
    """The file is no ranking; the message says why, in words for whoever made it."""


class Score(msgspec.Struct, frozen=True):
    """What one estimator says about one checkpoint; higher is better within one ranking."""

    value: float
    stderr: float | None = None
    folds: tuple[float, ...] = ()
    details: dict[str, Any] = {}


class Seconds(msgspec.Struct, frozen=True):
    """Wall time in seconds."""

    features: float = 0.0
    scoring: float = 0.0


class Row(msgspec.Struct, frozen=True):
    """One checkpoint of a ranking; `downloads`, `library` and `license` are what the file's writer knew of them."""

    checkpoint: str
    revision: str | None = None
    rank: int | None = None
    tied: bool = False
    n: int | None = None
    scores: dict[str, Score] = {}
    parameters: int | None = None
    width: int | None = None
    architecture: str | None = None
    pooling: str | None = None
    seconds: Seconds = Seconds()
    cached: str = "none"
    notes: tuple[str, ...] = ()
    error: str | None = None
    layer: str | None = None
    layers: dict[str, dict[str, float]] = {}
    downloads: int | None = None
    library: str | None = None
    license: str | None = None


class Encoder(msgspec.Struct, frozen=True):
    """A label encoder."""

    id: str
    revision: str
    width: int | None = None
    weight: float | None = None


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """Checkpoints in order, best first, failed ones last."""

    schema_version: int
    dataset: str
    dataset_id: str
    dataset_revision: str
    config: str | None
    split: str
    columns: dict[str, str]
    task: str
    n: int
    n_inputs: int
    n_labels: int
    skipped: int = 0
    seed: int
    folds: int
    max_samples: int | None = None
    available: int | None = None
    sampling: str | None = None
    race: int | None = None
    captions: str | None = None
    prompt: str | None = None
    label_form: str | None = None
    box_format: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    layers: tuple[str, ...] = ()
    encoders: tuple[Encoder, ...]
    estimators: tuple[str, ...]
    versions: dict[str, str]
    created: str
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...]


class _Versioned(msgspec.Struct):
    schema_version: int


def read(content: bytes | str) -> Ranking:
    """A ranking from JSON.

    Raises:
        NotARankingError: says what is wrong, and where.
    """
    try:
        version = msgspec.json.decode(content, type=_Versioned).schema_version
        if version != SCHEMA_VERSION:
            raise NotARankingError(f"it has schema version {version}; this leaderboard reads version {SCHEMA_VERSION}")
        ranking = msgspec.json.decode(content, type=Ranking)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotARankingError(in_words(str(error))) from error
    _check(ranking)
    return ranking


def to_json(ranking: Ranking) -> bytes:
    """The ranking file again, without the fields of rows that its writer did not know."""
    content = msgspec.to_builtins(ranking)
    for row in content["rows"]:
        for name in _OPTIONAL:
            if row[name] is None:
                del row[name]
    return msgspec.json.format(msgspec.json.encode(content), indent=2)


def read_parquet(path: Any) -> Ranking:
    """A ranking from the Parquet file that `hf-emms rank --output FILE.parquet` writes.

    Raises:
        NotARankingError: the file is damaged, or holds no ranking.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise NotARankingError("it is not Parquet, or it is damaged") from error
    if PARQUET_KEY not in metadata:
        raise NotARankingError("it is Parquet, but hf-emms has not written it")
    return read(metadata[PARQUET_KEY])


def is_rows_of_a_dataset(path: Any) -> bool:
    """Whether a Parquet file holds the rows of a ranking that lies as JSON in the same results dataset."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return {"ranking", "checkpoint", "schema_version"} <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowInvalid):
        return False


def _check(ranking: Ranking) -> None:
    if not ranking.rows:
        raise NotARankingError("rows is empty: there is no checkpoint in it")
    if not ranking.estimators:
        raise NotARankingError("estimators is empty: it doesn't say what ordered the rows")
    first = ranking.estimators[0]
    for place, row in enumerate(ranking.rows):
        if row.error is None and first not in row.scores:
            raise NotARankingError(f"rows[{place}] has neither a score of {first} nor an error")
        if row.error is None and (row.rank is None or row.rank < 1):
            raise NotARankingError(f"rows[{place}].rank should be 1 or more, for it has a score")


_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def in_words(problem: str) -> str:
    """A decoder's message without its jargon."""
    where = re.search(r" - at `\$\.?(.*)`$", problem)
    place = (where[1] if where else "") or "the file"
    if missing := re.match(r"Object missing required field `(\w+)`", problem):
        return f"the field {missing[1]} is missing" + (f" in {place}" if place != "the file" else "")
    if wrong := re.match(r"Expected `([^`]+)`, got `([^`]+)`", problem):
        wanted = " or ".join(_NAMES.get(part.strip(), part.strip()) for part in wrong[1].split("|"))
        return f"{place} should be {wanted}, but is {_NAMES.get(wrong[2], wrong[2])}"
    if re.match(r"JSON is malformed|Input data was truncated|.*codec can't decode", problem):
        return f"it is not JSON: {problem[0].lower()}{problem[1:]}"
    return problem
