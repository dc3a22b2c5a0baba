"""Read rankings from a folder or a results dataset, and refresh them in the background.

A snapshot never changes. A refresh replaces it, so that each page shows a single state of the data. Unreadable files
are listed in the snapshot's problems.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.merge import JSON_FOLDER, merged, path_of, ranking_path
from leaderboard import checks
from leaderboard.checks import Checked
from leaderboard.facts import NOT_KNOWN, Facts, HubFacts
from leaderboard.wins import Wins, wins

MAX_FILE_BYTES = 20_000_000
MAX_FILES = 5_000
# Shortest time between two looks at a local folder.
LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A ranking and its id in URLs: its path in the results, without suffix.

    Files with the same settings share an entry, with the name of the first file and the rows of all.
    """

    id: str
    ranking: Ranking

    @cached_property
    def settings(self) -> str:
        """Key of the settings that must be equal for two rankings to be comparable."""
        return path_of(self.ranking)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A state of the data.

    Attributes:
        entries: By id, in order of task, dataset and age (newest first).
        problems: The skipped files, each with the reason.
        remarks: Suspicious files that are shown, and files that were merged.
        origin: Source of the rankings, for display.
        facts: Checkpoint id → facts from the Hub.
        read: Whether the rankings have been read.
        failure: The error of the last refresh; empty if it succeeded.
        as_of: Time of the last successful refresh, "2026-01-31 12:00 UTC"; empty without a failure.
        version: Number of changes.
        memo: Cache of derived values.
    """

    entries: Mapping[str, Entry]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    origin: str = ""
    facts: Mapping[str, Facts] = field(default_factory=dict)
    read: bool = False
    failure: str = ""
    as_of: str = ""
    version: int = 0
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.ranking.task for entry in self.entries.values()))

    def of_task(self, task: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.ranking.task == task]

    @cached_property
    def wins(self) -> Mapping[str, Mapping[str, Wins]]:
        """Task → checkpoint → its share of wins, largest first."""
        ranks: dict[str, list[dict[str, int]]] = {}
        for entry in self.entries.values():
            ranked = {row.checkpoint: row.rank for row in entry.ranking.rows if row.rank}
            ranks.setdefault(entry.ranking.task, []).append(ranked)
        return {task: wins(some) for task, some in ranks.items()}

    def facts_of(self, row: Row) -> Facts:
        """Return facts about the checkpoint of a row: from the file, or else from the Hub."""
        hub = self.facts.get(row.checkpoint.partition("@")[0], NOT_KNOWN)
        return Facts(
            hub.downloads if row.downloads is None else row.downloads,
            row.library or hub.library,
            row.license or hub.license,
            hub.datasets,
            hub.languages,
        )


# Entries by id, problems and remarks.
Content = tuple[dict[str, Entry], tuple[str, ...], tuple[str, ...]]


class Folder:
    """Reader of a folder with rankings, which reads only changed files again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[tuple[int, int], Checked | str]] = {}
        self._content: Content = ({}, (), ())

    def read(self) -> Content:
        """Return the entries by id, the problems and the remarks; the same objects if no file changed."""
        root = self._folder / JSON_FOLDER if (self._folder / JSON_FOLDER).is_dir() else self._folder
        if not root.is_dir():
            return {}, (f"there is no folder {root.name}",), ()
        files = sorted(path for path in root.rglob("*.json") if path.is_file())
        known = {path: self._file(path) for path in files[:MAX_FILES]}
        if known != self._known:
            self._known = known
            self._content = self._merged(root, len(files) - MAX_FILES)
        return self._content

    def _merged(self, root: Path, too_many: int) -> Content:
        problems = [f"{too_many:,} files beyond the first {MAX_FILES:,}"] if too_many > 0 else []
        remarks: list[str] = []
        merged_entries: dict[str, Entry] = {}
        for path, (_, content) in self._known.items():
            name = path.relative_to(root)
            file = name.as_posix().encode("utf-8", "replace").decode()
            if isinstance(content, str):
                problems.append(f"{file}: {content}")
            else:
                entry = Entry(ranking_path(name.with_suffix("").as_posix()), content.ranking)
                remarks += (f"{file}: {remark}" for remark in content.remarks)
                if same := merged_entries.get(entry.settings):
                    remarks.append(f"{file}: merged with {same.id}, which has the same settings")
                    entry = Entry(same.id, merged(same.ranking, entry.ranking))
                merged_entries[entry.settings] = entry
        entries = _ordered({entry.id: entry for entry in merged_entries.values()})
        return entries, tuple(problems), tuple(remarks)

    def _file(self, path: Path) -> tuple[tuple[int, int], Checked | str]:
        try:
            path.as_posix().encode()  # the path becomes part of addresses
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if path in self._known and self._known[path][0] == stamp:
                return self._known[path]
            if status.st_size > MAX_FILE_BYTES:
                return stamp, f"{status.st_size / 1e6:.0f} MB exceed the limit of {MAX_FILE_BYTES / 1e6:.0f} MB"
            return stamp, _read(path)
        except UnicodeEncodeError:
            return (0, 0), "the file name is not UTF-8"
        except OSError as error:
            return (0, 0), f"cannot be read ({error.strerror})"


def _read(path: Path) -> Checked | str:
    """Return the ranking of a file, or an error message."""
    try:
        return checks.read(path.read_bytes())
    except EmmsError as error:
        return error.message


def _ordered(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    newest_first = sorted(entries.values(), key=lambda entry: entry.ranking.created, reverse=True)
    order = sorted(newest_first, key=lambda entry: (entry.ranking.task, entry.ranking.dataset.lower()))
    return {entry.id: entry for entry in order}


class Store:
    """Keep the current snapshot, and replace it in the background.

    Args:
        folder: A local folder, or a function that downloads the latest files of a results dataset and returns their
            folder. If it raises OSError or ValueError (bases of the Hub's errors), the last snapshot stays.
        origin: Source of the rankings, for display.
        facts: Requests facts about checkpoints from the Hub; None for no requests.
    """

    def __init__(self, folder: Path | Callable[[], Path], origin: str, facts: HubFacts | None = None) -> None:
        self.is_local = isinstance(folder, Path)
        self._locate = (lambda: folder) if isinstance(folder, Path) else folder
        self._origin, self._facts = origin, facts
        self._reader: Folder | None = None
        self._read_at = ""
        self._looked_at = -math.inf
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._snapshot = Snapshot({}, origin=origin)

    @property
    def snapshot(self) -> Snapshot:
        """The current state. Reads changed files of a local folder first, at most once per `LOOK_SECONDS`."""
        if self.is_local and time.monotonic() - self._looked_at > LOOK_SECONDS:
            self.refresh()
        return self._snapshot

    def refresh(self) -> None:
        """Read new and changed files; replace the snapshot if its content changed."""
        self._looked_at = time.monotonic()
        with self._lock:
            try:
                folder = self._locate()
            except (OSError, ValueError) as error:
                logger.warning("results not refreshed: %s", error)
                failure = f"{self._origin} could not be read ({type(error).__name__})"
                self._change(failure=failure, as_of=self._read_at)
                return
            if self._reader is None or self._reader._folder != folder:
                self._reader = Folder(folder)
            entries, problems, remarks = self._reader.read()
            self._read_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            self._change(entries=entries, problems=problems, remarks=remarks, read=True, failure="", as_of="")

    def refresh_facts(self) -> None:
        """Request facts about the checkpoints from the Hub."""
        if self._facts is None:
            return
        rankings = [entry.ranking for entry in self._snapshot.entries.values()]
        facts = self._facts.of_checkpoints(rankings)
        with self._lock:
            self._change(facts=facts)

    def keep_fresh(self, every: float) -> None:
        """Start a thread that refreshes now, and then every `every` seconds."""
        threading.Thread(target=self._run, args=(every,), daemon=True, name="refresh").start()

    def close(self) -> None:
        self._stop.set()

    def _run(self, every: float) -> None:
        while True:
            self.refresh()
            self.refresh_facts()
            if self._stop.wait(every):
                return

    def _change(self, **changes: Any) -> None:
        now = self._snapshot
        if any(getattr(now, name) != value for name, value in changes.items()):
            self._snapshot = replace(now, **changes, version=now.version + 1)
