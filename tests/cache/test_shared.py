"""A cache that users share: of one who lets others read, and of a team whose group may write."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock  # noqa: F401 (other users may not be allowed to import it)
import numpy as np
import pytest

from hf_emms.cache import Cache

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of other users")

ALICE, BOB, TEAM = 23_001, 23_002, 23_000
ROWS, FEATURES = {"kind": "rows", "id": "org/model"}, {"kind": "features", "id": "org/model"}


def as_user(user: int, work: Callable[[], Any], umask: int = 0o002) -> Any:
    """What a function returns in a process of a user of the team."""
    processes = multiprocessing.get_context("fork")
    receiver, sender = processes.Pipe(duplex=False)

    def run() -> None:
        os.setgroups([TEAM])
        os.setgid(user)
        os.setuid(user)
        os.umask(umask)
        sender.send(work())

    process = processes.Process(target=run)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


@pytest.fixture
def root() -> Iterator[Path]:
    """The cache of a team, in a place that every user reaches."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    root = place / "cache"
    root.mkdir()
    os.chown(root, ALICE, TEAM)
    root.chmod(0o2775)
    Cache(place / "first").put(FEATURES, {"x": np.arange(3)})  # imports what other users may not be allowed to import
    assert Cache(place / "first").get(FEATURES, dict) is not None
    yield root
    shutil.rmtree(place)


def store(root: Path, value: int) -> list[str]:
    """Store a row and features, and return the problems."""
    problems: list[str] = []
    cache = Cache(root, problems.append)
    cache.put_json(ROWS, value)
    cache.put(FEATURES, {"x": np.full(3, value)})
    return problems


def read(root: Path) -> tuple[Any, Any, list[str]]:
    """Return the stored row and features, and the problems of reading them."""
    problems: list[str] = []
    cache = Cache(root, problems.append)
    return cache.get_json(ROWS, int), cache.get(FEATURES, lambda arrays: arrays["x"].tolist()), problems


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_cache_of_another_user_is_read_and_said_once_to_be_not_writable(root: Path) -> None:
    root.chmod(0o755)
    assert as_user(ALICE, lambda: store(root, 7), umask=0o022) == []
    stored = files(root)
    assert len(stored) == 2
    assert as_user(BOB, lambda: read(root)) == (7, [7, 7, 7], [])
    (problem,) = as_user(BOB, lambda: store(root, 8))
    assert "(Permission denied)" in problem
    assert "HF_EMMS_CACHE" in problem

    assert files(root) == stored


def test_entries_that_may_not_be_read_are_left_alone_and_said_once(root: Path) -> None:
    as_user(ALICE, lambda: store(root, 7))
    stored = files(root)
    for path in stored:
        Path(path).chmod(0o600)
    row, features, problems = as_user(BOB, lambda: read(root))
    assert (row, features) == (None, None)
    assert ["(Permission denied)" in problem for problem in problems] == [True]
    assert files(root) == stored


def test_a_team_reads_and_replaces_what_each_has_stored(root: Path) -> None:
    assert as_user(ALICE, lambda: store(root, 7)) == []
    assert as_user(BOB, lambda: read(root)) == (7, [7, 7, 7], [])
    assert as_user(BOB, lambda: store(root, 8)) == []
    assert as_user(ALICE, lambda: read(root)) == (8, [8, 8, 8], [])
    for path in files(root):
        os.utime(path, (0, 0))
    as_user(ALICE, lambda: read(root))
    used = [Path(path).stat().st_mtime for path in files(root)]
    assert min(used) > 0  # an entry that one user reads does not count as old for the others
