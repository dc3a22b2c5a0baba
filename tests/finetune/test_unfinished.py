"""What lies in place of a lock or a state is an error in words, at once; nothing outside the cache is touched."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_emms.finetune.resume_states import (
    StorageError,
    locked_run,
    newest_state,
    remove_state,
    seal,
    storage_error,
    unfinished_folder,
)

RUN = "a" * 64


def lock(root: Path) -> None:
    with locked_run(root, RUN, None, lambda: None):
        pass


def open_folder(root: Path) -> None:
    with unfinished_folder(root, RUN):
        pass


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link to a file", "link to a folder", "dangling link"])
@pytest.mark.parametrize(
    ("use", "place", "expected"),
    [
        (lock, "locks", "folder"),
        (lock, f"locks/{RUN}.lock", "file"),
        (open_folder, "unfinished", "folder"),
        (open_folder, f"unfinished/{RUN}", "folder"),
        (open_folder, f"unfinished/{RUN}/first", None),
        (open_folder, f"unfinished/{RUN}/first/checkpoint-1/trainer_state.json", None),
    ],
)
def test_obstacles(tmp_path: Path, use: Callable[[Path], None], place: str, expected: str | None, kind: str) -> None:
    root, outside = tmp_path / "cache", tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").touch()
    before = sorted(outside.rglob("*"))
    path = root / place
    path.parent.mkdir(parents=True)
    make: dict[str, Callable[[], None]] = {
        "file": path.touch,
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link to a file": lambda: path.symlink_to(outside / "file"),
        "link to a folder": lambda: path.symlink_to(outside / "folder"),
        "dangling link": lambda: path.symlink_to(outside / "new"),
    }
    make[kind]()
    if kind == expected or (expected is None and kind in ("file", "folder")):
        use(root)
    else:
        with pytest.raises(StorageError) as raised:
            use(root)
        assert raised.value.message.startswith(f"{path} cannot be written: {path.name} is no ")
        assert str(raised.value.hint).startswith("remove it, or name another folder")
    assert sorted(outside.rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left"), "No space left", "free some space, or name another folder"),
        (RuntimeError("half a file\nin a stream"), "half a file", "free some space, or name another folder"),
        (RuntimeError(), "RuntimeError", "free some space, or name another folder"),
        (OSError(errno.EACCES, "Permission denied", "file"), "Permission denied", "name another folder"),
    ],
)
def test_a_failed_write_has_its_reason_and_a_remedy(error: Exception, reason: str, remedy: str) -> None:
    told = storage_error(Path("/cache/run"), error)
    assert told.message == f"/cache/run cannot be written: {reason}"
    assert str(told.hint).startswith(remedy)


def state(folder: Path, step: int, best: Path | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": None if best is None else str(best)}))
    os.utime(path, (step, step))
    return path


def test_training_goes_on_from_the_last_whole_state_whose_best_one_is_whole_too(tmp_path: Path) -> None:
    assert newest_state(tmp_path) is None
    first = state(tmp_path, 1, None)
    assert newest_state(tmp_path) is None  # it is not sealed
    seal(first)
    os.utime(first, (1, 1))
    assert newest_state(tmp_path) == (first, {"best_model_checkpoint": None})
    second = state(tmp_path, 2, first)
    seal(second)
    assert newest_state(tmp_path) == (second, {"best_model_checkpoint": str(first)})
    third = state(tmp_path, 3, tmp_path / "checkpoint-0")  # which is gone
    seal(third)
    assert newest_state(tmp_path) is None
    (third / "digest.json").unlink()
    for _ in range(2):
        remove_state(third)  # which is half gone already, as after a kill, and then all of it
    assert not third.exists()
    assert newest_state(tmp_path) == (second, {"best_model_checkpoint": str(first)})
    (first / "trainer_state.json").write_text("{}")
    assert newest_state(tmp_path) is None  # one of them was changed
    (second / "trainer_state.json").write_text("no JSON")
    for path in (first, second):
        seal(path)
        os.utime(path, (2, 2))
    assert newest_state(tmp_path) is None
