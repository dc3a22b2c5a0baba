"""The rows of a ranking with the same columns and types for every ranking, so that all files read as one table."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from hf_emms.ranking import Ranking, Row

if TYPE_CHECKING:
    import pyarrow as pa

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
