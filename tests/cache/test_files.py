"""Atomic writes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hf_emms.cache.files import atomic_file, write_atomic


def test_write_atomic_replaces_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomic(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    write_atomic(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(OSError):
        write_atomic(path / "below", b"")
    (tmp_path / "link").symlink_to(path)
    write_atomic(tmp_path / "link", b"1")
    assert ((tmp_path / "link").readlink(), path.read_bytes()) == (path, b"1")


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half")
        assert not unfinished.suffix  # nobody who lists *.json finds it
        raise RuntimeError

    with pytest.raises(RuntimeError), atomic_file(path) as unfinished:
        fail(unfinished)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_pipe_is_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomic(tmp_path / "pipe", b"through")
    reader.join(10)
    assert read == [b"through"]
    assert (tmp_path / "pipe").is_fifo()
