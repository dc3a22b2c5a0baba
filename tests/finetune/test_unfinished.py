"""A file or link in place of a folder of runs is an error, and nothing outside the cache is changed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hf_emms.finetune.resume_states import StorageError, locked_run, storage_error

RUN = "a" * 64


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize("place", ["locks", "unfinished", f"unfinished/{RUN}"])
def test_a_file_or_link_in_place_of_a_folder_is_an_error(tmp_path: Path, place: str, kind: str) -> None:
    root, outside = tmp_path / "cache", tmp_path / "outside"
    path = root / place
    path.parent.mkdir(parents=True)
    if kind == "file":
        path.touch()
    else:
        path.symlink_to(outside)
    with pytest.raises(StorageError) as raised, locked_run(root, RUN, None, lambda: None):
        pass
    assert raised.value.message.startswith(f"{path} cannot be written: ")
    assert not outside.exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left"), "No space left"),
        (RuntimeError("half a file\nin a stream"), "half a file"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_failed_write_has_its_reason_and_a_remedy(error: Exception, reason: str) -> None:
    told = storage_error(Path("/cache/run"), error)
    assert told.message == f"/cache/run cannot be written: {reason}"
    assert str(told.hint).startswith("free some space, or choose another folder")
