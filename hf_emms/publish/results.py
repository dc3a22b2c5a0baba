"""Publish rankings as files of a results dataset, merge them, and read them back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from hf_emms import hub
from hf_emms.cache.files import read_limited
from hf_emms.errors import EmmsError
from hf_emms.publish import wheel
from hf_emms.publish.card_text import rendered_template
from hf_emms.ranking import Ranking
from hf_emms.ranking.columns import COLUMNS, IDENTITY
from hf_emms.ranking.merge import JSON_FOLDER, merged, path_of
from hf_emms.texts import setting_ref

PARQUET_FOLDER = "data"

_README = "README.md"
_TITLE_LENGTH = 120
_TRIES_AMONG_MANY = 40
# Facts of a ranking in each of its Parquet rows; "ranking" is the path of its JSON file.
_TEXTS = ("task", "dataset", "dataset_id", "dataset_revision", "config", "split", "created", "ranking")


def parquet_rows(ranking: Ranking, path: str) -> bytes:
    """Return the rows as a Parquet file. All files have the same columns, so that they form one table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    columns = [column for column in (*IDENTITY, *COLUMNS) if "results" in column.tables]
    fields = dict.fromkeys(_TEXTS, str) | {column.name: column.type for column in columns} | {"n": int}
    scores = pa.list_(pa.struct([("estimator", pa.string()), ("value", pa.float64()), ("stderr", pa.float64())]))
    schema = pa.schema([*((name, types[type]) for name, type in fields.items()), ("scores", scores)])
    records = [
        {
            **{name: getattr(ranking, name, path) for name in _TEXTS},
            **{column.name: column.value(ranking, row) for column in columns},
            "n": ranking.n,
            "scores": [
                {"estimator": name, "value": score.value, "stderr": score.stderr} for name, score in row.scores.items()
            ],
        }
        for row in ranking.rows
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema), sink)
    return sink.getvalue()


def publish(rankings: Sequence[Ranking], repo_id: str, *, private: bool = False) -> hub.Outcome:
    """Add rankings to a results dataset in one commit. Creates the dataset if needed; `private` is for a new one.

    Merges rows with the published ranking at the same path, and again if others commit meanwhile. Makes no commit if
    nothing is new.

    Raises:
        EmmsError: No access, a file of a newer version, or the Hub is unreachable.
    """
    subjects = sorted({f"{ranking.dataset_id}, {ranking.task}" for ranking in rankings})
    title = f"Add rankings: {'; '.join(subjects)}"[:_TITLE_LENGTH]
    return _push(repo_id, lambda read: _files(rankings, repo_id, read), title=title, private=private)


def _push(repo_id: str, change: hub.Change, *, title: str, private: bool = False) -> hub.Outcome:
    try:
        return hub.push(repo_id, "dataset", change, title=title, tries=_TRIES_AMONG_MANY)
    except hub.RepoNotFoundError:
        hub.create_dataset(repo_id, private=private)
        return hub.push(repo_id, "dataset", change, title=title, tries=_TRIES_AMONG_MANY)


def publish_wheel(repo_id: str) -> None:
    """Upload a wheel of this version to a results dataset, for jobs. Creates the dataset if needed."""
    content = wheel.build()
    _push(repo_id, lambda read: {wheel.NAME: content}, title="Add hf-emms for jobs")
    if hub.is_private(repo_id, "dataset"):
        raise EmmsError(
            "private-dataset",
            f"the dataset {repo_id!r} is private: a job cannot install hf-emms from it",
            "make it public, or name another dataset: " + setting_ref("results_repo", ...),
        )


def rankings_below(folder: Path) -> tuple[dict[str, Ranking], list[str]]:
    """Return the rankings below a folder by their path, and the reasons why some files could not be read."""
    rankings: dict[str, Ranking] = {}
    problems = []
    for file in sorted(folder.rglob("*.json")):
        path = file.relative_to(folder).with_suffix("").as_posix()
        try:
            rankings[path] = Ranking.from_json(read_limited(file))
        except EmmsError as error:
            problems.append(f"{path}: {error.message}")
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
    return rankings, problems


def _files(rankings: Sequence[Ranking], repo_id: str, read: hub.FileReader) -> dict[str, bytes]:
    published: dict[str, Ranking | None] = {}
    changed: dict[str, Ranking] = {}
    for ranking in rankings:
        path = path_of(ranking)
        if path not in published:
            content = read(f"{JSON_FOLDER}/{path}.json")
            published[path] = Ranking.from_json(content) if content is not None else None
        whole = merged(published[path], ranking)
        if whole is not published[path]:
            published[path] = changed[path] = whole
    files = {f"{JSON_FOLDER}/{path}.json": whole.to_json().encode() for path, whole in changed.items()}
    files |= {f"{PARQUET_FOLDER}/{path}.parquet": parquet_rows(whole, path) for path, whole in changed.items()}
    if read(_README) is None:
        files[_README] = rendered_template("results_readme.md.jinja", repo_id=repo_id).encode()
    return files
