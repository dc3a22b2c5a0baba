"""A file or link in place of a folder of runs is an error, and nothing outside the cache is changed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_emms.finetune.resume_states import StorageError, locked_run, storage_error, unfinished_folder

RUN = "a" * 64


def lock(root: Path) -> None:
    with locked_run(root, RUN, None, lambda: None):
        pass


def open_folder(root: Path) -> None:
    with unfinished_folder(root, RUN):
        pass


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize(
    ("use", "place"),
    [(lock, "locks"), (open_folder, "unfinished"), (open_folder, f"unfinished/{RUN}")],
)
def test_a_file_or_link_in_place_of_a_folder_is_an_error(
    tmp_path: Path, use: Callable[[Path], None], place: str, kind: str
) -> None:
    root, outside = tmp_path / "cache", tmp_path / "outside"
    path = root / place
    path.parent.mkdir(parents=True)
    if kind == "file":
        path.touch()
    else:
        path.symlink_to(outside)
    with pytest.raises(StorageError) as raised:
        use(root)
    assert raised.value.message.startswith(f"{path} cannot be written: ")
    assert str(raised.value.hint).startswith("remove it, or choose another folder")
    assert not outside.exists()


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left"), "No space left", "free some space, or choose another folder"),
        (RuntimeError("half a file\nin a stream"), "half a file", "free some space, or choose another folder"),
        (RuntimeError(), "RuntimeError", "free some space, or choose another folder"),
        (OSError(errno.EACCES, "Permission denied", "file"), "Permission denied", "choose another folder"),
    ],
)
def test_a_failed_write_has_its_reason_and_a_remedy(error: Exception, reason: str, remedy: str) -> None:
    told = storage_error(Path("/cache/run"), error)
    assert told.message == f"/cache/run cannot be written: {reason}"
    assert str(told.hint).startswith(remedy)
