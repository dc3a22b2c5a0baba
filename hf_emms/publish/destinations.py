"""Destinations for the rows of a sweep: a folder, or a results dataset on the Hub."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from hf_emms import hub
from hf_emms.cache.files import check_writable, locked, read_limited, write_atomic
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.publish.results import publish, pull
from hf_emms.ranking import Ranking
from hf_emms.ranking.files import LOCK
from hf_emms.ranking.merge import JSON_FOLDER, merged, path_of

# The Hub accepts a few hundred commits per hour and user.
COMMIT_SECONDS = 60.0
# Set in the environment of a job.
IN_JOB = "HF_EMMS_JOB"


class PublishedRanking(msgspec.Struct, frozen=True, tag="published"):
    """The location of a published ranking: the results dataset, and the path of the JSON file."""

    repo_id: str
    path: str

    @classmethod
    def of(cls, repo_id: str, ranking: Ranking) -> PublishedRanking:
        return cls(repo_id, f"{JSON_FOLDER}/{path_of(ranking)}.json")

    @property
    def in_words(self) -> str:
        return f"published in {self.repo_id}: {self.path}"

    @property
    def line(self) -> str:
        """Return the line for a log: a sentence, or JSON in a job, whose log hf-emms reads."""
        return msgspec.json.encode(self).decode() if os.environ.get(IN_JOB) else self.in_words


class ResultsFolder:
    """A folder with one JSON file per ranking, in the layout of a results dataset.

    Raises:
        EmmsError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            check_writable(folder)
        except OSError as error:
            raise EmmsError(
                f"{folder} cannot be written: {error.strerror or error}", setting_ref("output", "DIR")
            ) from error
        self._folder = folder

    def ranking_at(self, path: str) -> Ranking | None:
        """Return the ranking at a path (see `path_of`), or None. Raises an EmmsError if it cannot be read."""
        file = self._file(path)
        try:
            return Ranking.from_json(read_limited(file))
        except FileNotFoundError:
            return None
        except (OSError, EmmsError) as error:
            reason = error.message if isinstance(error, EmmsError) else error.strerror
            raise EmmsError(
                f"cannot read {file}: {reason}", "remove it, or choose another folder: " + setting_ref("output", "DIR")
            ) from error

    def add(self, ranking: Ranking) -> Ranking:
        """Merge a ranking with the file at its path, and return the merged ranking.

        Other processes and threads wait meanwhile.
        """
        path = path_of(ranking)
        file = self._file(path)
        try:
            with locked(file.with_name(LOCK)):
                whole = merged(self.ranking_at(path), ranking)
                write_atomic(file, whole.to_json())
        except OSError as error:
            raise EmmsError(f"cannot write {file}: {error.strerror or error}", setting_ref("output", "DIR")) from error
        return whole

    def flush(self) -> None:
        """Do nothing, because `add` writes at once."""

    def _file(self, path: str) -> Path:
        return self._folder / f"{path}.json"


class ResultsDataset:
    """A results dataset on the Hub, with at most one commit per minute. Creates the dataset if needed.

    `on_note` receives a line per published ranking, and the reason if a commit has to wait.
    """

    def __init__(self, repo_id: str, on_note: Callable[[str], None]) -> None:
        account = hub.who_am_i()
        hub.require_push(
            account, repo_id, "dataset", instead=setting_ref("results_repo", f"{account.name}/emms-results")
        )
        self._repo_id = repo_id
        self._on_note = on_note
        self._rankings = _published(repo_id)
        self._waiting: dict[str, list[Ranking]] = {}
        self._named: set[str] = set()
        self._last_try = time.monotonic()

    def ranking_at(self, path: str) -> Ranking | None:
        """Return the ranking at a path (see `path_of`), or None."""
        ranking = self._rankings.get(path)
        if ranking is not None:
            self._name(path)
        return ranking

    def add(self, ranking: Ranking) -> Ranking:
        """Merge a ranking with the published one, and return it. A failed commit is repeated with the next one."""
        path = path_of(ranking)
        whole = self._rankings[path] = merged(self._rankings.get(path), ranking)
        self._waiting.setdefault(path, []).append(ranking)
        if time.monotonic() - self._last_try >= COMMIT_SECONDS:
            try:
                self.flush()
            except EmmsError as error:
                self._on_note(f"not published yet: {error.message}")
        return whole

    def flush(self) -> None:
        """Commit the remaining rankings."""
        self._last_try = time.monotonic()
        if not self._waiting:
            return
        publish([ranking for rankings in self._waiting.values() for ranking in rankings], self._repo_id)
        for path in self._waiting:
            self._name(path)
        self._waiting = {}

    def _name(self, path: str) -> None:
        """Log the location of a published ranking once."""
        if path not in self._named:
            self._named.add(path)
            self._on_note(PublishedRanking(self._repo_id, f"{JSON_FOLDER}/{path}.json").line)


Destination = ResultsFolder | ResultsDataset


def _published(repo_id: str) -> dict[str, Ranking]:
    try:
        return pull(repo_id)[0]
    except (hub.RepoNotFoundError, hub.NoMatchingFileError):
        return {}
