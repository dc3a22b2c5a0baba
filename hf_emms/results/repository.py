"""Where a ranking lies, and what becomes of two that belong to the same place.

The rows of a ranking with the same columns and types for every ranking, so that all files read as one table.
Rankings to a results dataset, and back.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.ranking import Encoder, Ranking, Row, Seconds, emms_score, ranked
from hf_emms.results import dataset_card
from hf_emms.views import with_advice, without_advice

if TYPE_CHECKING:
    import pyarrow as pa


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


_OF_THE_RANKING = (
    *("schema_version", "task", "dataset", "dataset_id", "dataset_revision", "config", "split"),
    *("n_inputs", "n_labels", "seed", "folds", "created"),
)
_OF_THE_ROW = (
    *("rank", "tied", "checkpoint", "revision"),
    *("parameters", "width", "architecture", "pooling", "error"),
)


def parquet(ranking: Ranking, path: str) -> bytes:
    """A Parquet file of the rows; `path` is what `path_of` says, the column "ranking"."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_record(ranking, path, row) for row in ranking.rows], _schema())
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _record(ranking: Ranking, path: str, row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(ranking, name) for name in _OF_THE_RANKING}
    record |= {name: getattr(row, name) for name in _OF_THE_ROW}
    for name in ("emms_knn", "emms", "logme", "knn"):
        score = row.scores.get(name)
        record[name] = score.value if score else None
        record[f"{name}_stderr"] = score.stderr if score else None
    emms = row.scores.get("emms")
    return record | {
        "n": row.n or ranking.n,
        "ranking": path,
        "encoders": ["@".join(filter(None, (encoder.id, encoder.revision))) for encoder in ranking.encoders],
        "emms_r2": emms.details.get("r2") if emms else None,
        "scores": [
            {"estimator": name, "value": score.value, "stderr": score.stderr} for name, score in row.scores.items()
        ],
        "seconds_features": row.seconds.features,
        "seconds_scoring": row.seconds.scoring,
    }


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    score = pa.struct([("estimator", text), ("value", real), ("stderr", real)])
    return pa.schema(
        [
            ("task", text),
            ("dataset", text),
            ("config", text),
            ("split", text),
            ("rank", whole),
            ("tied", pa.bool_()),
            ("checkpoint", text),
            ("emms_knn", real),
            ("emms_knn_stderr", real),
            ("emms", real),
            ("emms_stderr", real),
            ("emms_r2", real),
            ("logme", real),
            ("logme_stderr", real),
            ("knn", real),
            ("knn_stderr", real),
            ("parameters", whole),
            ("width", whole),
            ("architecture", text),
            ("pooling", text),
            ("error", text),
            ("revision", text),
            ("dataset_id", text),
            ("dataset_revision", text),
            ("n", whole),
            ("n_inputs", whole),
            ("n_labels", whole),
            ("seed", whole),
            ("folds", whole),
            ("encoders", pa.list_(text)),
            ("scores", pa.list_(score)),
            ("seconds_features", real),
            ("seconds_scoring", real),
            ("created", text),
            ("ranking", text),
            ("schema_version", whole),
        ]
    )


JSON_FOLDER = "rankings"
PARQUET_FOLDER = "data"

_README = "README.md"
_TITLE_LENGTH = 120


def publish(rankings: Sequence[Ranking], repo_id: str, *, private: bool = False) -> hub.Outcome:
    """Adds rankings to a results dataset in one commit; the dataset is made where there is none.

    Rows are added to those of the ranking that lies at the same path. What others commit meanwhile is read again, so
    that nothing is lost; a result that is there already makes no commit.

    Args:
        rankings: what to add.
        repo_id: "ORG/emms-results".
        private: of a dataset that is made anew.

    Raises:
        EmmsError: no rights, a file of a newer version lies there, or the Hub cannot be reached.
    """
    subjects = sorted({f"{ranking.dataset_id}, {ranking.task}" for ranking in rankings})
    title = f"Add rankings: {'; '.join(subjects)}"[:_TITLE_LENGTH]

    def push() -> hub.Outcome:
        return hub.push(
            repo_id,
            "dataset",
            lambda read: _files(rankings, repo_id, read),
            title=title,
            tries=hub.TRIES_AMONG_MANY,
        )

    try:
        return push()
    except hub.RepoNotFoundError:
        hub.create_dataset(repo_id, private=private)
        return push()


def pull(repo_id: str) -> tuple[dict[str, Ranking], list[str]]:
    """Reads the rankings of a results dataset.

    Args:
        repo_id: "ORG/emms-results[@REVISION]".

    Returns:
        Rankings by their path (see `path_of`), and in words which files could not be read.

    Raises:
        EmmsError: no such dataset, it has no rankings, or the Hub cannot be reached.
    """
    folder = hub.fetch(hub.resolve(repo_id, "dataset"), [f"{JSON_FOLDER}/*.json"]) / JSON_FOLDER
    rankings: dict[str, Ranking] = {}
    problems = []
    for file in sorted(folder.rglob("*.json")):
        path = file.relative_to(folder).with_suffix("").as_posix()
        try:
            rankings[path] = Ranking.from_json(file.read_bytes())
        except EmmsError as error:
            problems.append(f"{path}: {error.message}")
    return rankings, problems


def _files(rankings: Sequence[Ranking], repo_id: str, read: hub.Read) -> dict[str, bytes]:
    """The files that change."""
    kept: dict[str, Ranking | None] = {}
    changed: dict[str, Ranking] = {}
    for ranking in rankings:
        path = path_of(ranking)
        if path not in kept:
            content = read(f"{JSON_FOLDER}/{path}.json")
            kept[path] = Ranking.from_json(content) if content is not None else None
        whole = merged(kept[path], ranking)
        if whole is not kept[path]:
            kept[path] = changed[path] = whole
    files = {f"{JSON_FOLDER}/{path}.json": whole.to_json().encode() for path, whole in changed.items()}
    files |= {f"{PARQUET_FOLDER}/{path}.parquet": parquet(whole, path) for path, whole in changed.items()}
    readme = read(_README)
    if files or readme is None:
        known = [dataset_card.listed(whole, path) for path, whole in kept.items() if whole is not None]
        files[_README] = dataset_card.updated(readme, repo_id, known)
    return files
