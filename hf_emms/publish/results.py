"""Publish rankings as files of a results dataset, merge them, and read them back."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_emms import hub
from hf_emms.cache.files import read_limited
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.publish import wheel
from hf_emms.publish.card_text import markdown_text, rendered_template
from hf_emms.ranking import Ranking
from hf_emms.ranking.columns import COLUMNS, IDENTITY
from hf_emms.ranking.merge import JSON_FOLDER, merged, path_of, ranking_path, submission_path
from hf_emms.texts import repository, setting_ref

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

    Merges rows with the published ranking at the same path and with merged pull requests, and again if others commit
    meanwhile. Makes no commit if nothing is new.

    Raises:
        EmmsError: No access, a file of a newer version, or the Hub is unreachable.
    """
    change = lambda branch: _merged_files(rankings, repo_id, branch)  # noqa: E731
    return _push(repo_id, change, title=_title(rankings), private=private)


def planned(rankings: Sequence[Ranking], repo_id: str, skipped: list[str]) -> dict[str, bytes | None]:
    """Return the files that `publish` would write or delete (None).

    Appends the damaged files of the dataset to `skipped`, each with its problem. They stop no other file.
    """
    try:
        return hub.planned(repo_id, "dataset", lambda branch: _merged_files(rankings, repo_id, branch, skipped))
    except hub.RepoNotFoundError:
        return dict(_merged_files(rankings, repo_id, None))


def submission(rankings: Sequence[Ranking], repo_id: str) -> dict[str, bytes | None]:
    """Return the files that `propose` would add to a results dataset."""
    return hub.planned(repo_id, "dataset", lambda branch: _submitted_files(rankings, branch))


def propose(rankings: Sequence[Ranking], repo_id: str, account: hub.Account) -> hub.Outcome:
    """Propose rankings for a results dataset in a pull request, or update the account's open one.

    A pull request only adds files, so that pull requests for the same ranking can be merged in any order. Readers merge
    the rows, and the next `publish` merges the files.
    """
    description = "Adds the rows of these rankings. Published rows stay.\n\n" + "\n".join(
        f"- {markdown_text(ranking.dataset_id)}, {markdown_text(ranking.task)}: "
        f"{pluralize(len(ranking.rows), 'checkpoint')}"
        for ranking in rankings
    )
    change = lambda branch: _submitted_files(rankings, branch)  # noqa: E731
    return hub.propose(repo_id, "dataset", change, account=account, title=_title(rankings), description=description)


def _title(rankings: Sequence[Ranking]) -> str:
    subjects = sorted({f"{ranking.dataset_id}, {ranking.task}" for ranking in rankings})
    return (f"Add rankings: {'; '.join(subjects)}" if subjects else "Merge submitted rankings")[:_TITLE_LENGTH]


def _push(repo_id: str, change: hub.Change, *, title: str, private: bool = False) -> hub.Outcome:
    try:
        return hub.push(repo_id, "dataset", change, title=title, tries=_TRIES_AMONG_MANY)
    except hub.RepoNotFoundError:
        hub.create_dataset(repo_id, private=private)
        return hub.push(repo_id, "dataset", change, title=title, tries=_TRIES_AMONG_MANY)


def publish_wheel(repo_id: str) -> None:
    """Upload a wheel of this version to a results dataset, for jobs. Creates the dataset if needed."""
    content = wheel.build()
    _push(repo_id, lambda branch: {wheel.NAME: content}, title="Add hf-emms for jobs")
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


def _merged_files(
    rankings: Sequence[Ranking], repo_id: str, branch: hub.Branch | None, skipped: list[str] | None = None
) -> Mapping[str, bytes | None]:
    """Return the changed files: rankings merged with published and submitted rows, and their missing Parquet files.

    Args:
        rankings: The rankings to add.
        repo_id: The results dataset.
        branch: Its state; None if it does not exist.
        skipped: Receives the files that cannot be read, each with its problem.
    """
    paths = branch.paths() if branch is not None else []
    read = (lambda path: branch.read(path) if path in paths else None) if branch is not None else (lambda path: None)
    files: dict[str, bytes | None] = {}
    by_path: dict[str, Ranking | None] = {}
    changed: dict[str, Ranking] = {}

    def readable(path: str) -> Ranking | None:
        try:
            return Ranking.from_json(read(_json_file(path)) or b"")
        except EmmsError as error:
            if skipped is not None:
                skipped.append(f"{_json_file(path)}: {error.message}")
            return None

    def add(ranking: Ranking, path: str) -> None:
        if path not in by_path:
            content = read(_json_file(path))
            by_path[path] = Ranking.from_json(content) if content is not None else None
        whole = merged(by_path[path], ranking)
        if whole is not by_path[path]:
            by_path[path] = changed[path] = whole

    published = [name.removeprefix(f"{JSON_FOLDER}/").removesuffix(".json") for name in paths if _is_ranking(name)]
    for submitted in (name for name in published if ranking_path(name) != name):
        if (stored := readable(submitted)) is not None:
            add(stored, ranking_path(submitted))
            files[_json_file(submitted)] = None
    for ranking in rankings:
        add(ranking, path_of(ranking))
    files |= {_json_file(path): whole.to_json().encode() for path, whole in changed.items()}
    for path in (name for name in published if ranking_path(name) == name and name not in changed):
        if f"{PARQUET_FOLDER}/{path}.parquet" not in paths and (stored := readable(path)) is not None:
            changed[path] = stored
    files |= {f"{PARQUET_FOLDER}/{path}.parquet": parquet_rows(whole, path) for path, whole in changed.items()}
    if not repository() and wheel.NAME not in paths:
        files[wheel.NAME] = wheel.build()
    if _README not in paths:
        install = wheel.install_from_hub(repo_id)
        files[_README] = rendered_template("results_readme.md.jinja", repo_id=repo_id, install=install).encode()
    return files


def _submitted_files(rankings: Sequence[Ranking], branch: hub.Branch) -> Mapping[str, bytes | None]:
    """Return the files of a pull request: a file for each ranking with rows that are not published."""
    files: dict[str, bytes | None] = {}
    for ranking in rankings:
        content = branch.read(_json_file(path_of(ranking)))
        published = Ranking.from_json(content) if content is not None else None
        if published is None or merged(published, ranking) is not published:
            files[_json_file(submission_path(ranking))] = ranking.to_json().encode()
    return files


def _json_file(path: str) -> str:
    return f"{JSON_FOLDER}/{path}.json"


def _is_ranking(name: str) -> bool:
    return name.startswith(f"{JSON_FOLDER}/") and name.endswith(".json")
