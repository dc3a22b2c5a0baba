"""Rankings to a results dataset, and back."""

from __future__ import annotations

from collections.abc import Sequence

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking
from hf_emms.results import card
from hf_emms.results.merge import merged, path_of
from hf_emms.results.table import parquet

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
        known = [card.listed(whole, path) for path, whole in kept.items() if whole is not None]
        files[_README] = card.updated(readme, repo_id, known)
    return files
