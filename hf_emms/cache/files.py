"""Files that appear whole or not at all, locks of files, and texts in the encodings that other programs write."""

from __future__ import annotations

import codecs
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".writing-"


def decoded(content: bytes) -> str:
    """Return the text of bytes in UTF-8, or in the encoding of their byte order mark; a ValueError for other bytes."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig")
    if "\0" in text:
        raise ValueError("it is not a text in UTF-8")
    return text


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file, whole or not at all; text as UTF-8."""
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(folder: Path) -> None:
    """Raise an OSError unless files can be made in a folder, or in the nearest folder above it that exists."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    tempfile.TemporaryFile(dir=existing).close()


def check_kind(path: Path, *, is_folder: bool) -> None:
    """Refuse anything but a file, or a folder, at a path; a link is neither, as it may lead anywhere.

    Raises:
        FileNotFoundError: nothing is there.
        FileExistsError: something else is there.
        OSError: it cannot be looked up.
    """
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFLNK: "a link, which is not followed"}
    kind = kinds.get(stat.S_IFMT(mode), "a pipe, a socket or a device")
    raise FileExistsError(errno.EEXIST, f"{path.name} is no {'folder' if is_folder else 'file'}, but {kind}", str(path))


def set_mode(path: Path, mode: int) -> None:
    """Set the mode of a file where it has another: what safetensors writes, only its user may read."""
    if path.stat().st_mode != mode:
        path.chmod(stat.S_IMODE(mode))


def folder_below(root: Path, *names: str) -> Path:
    """Return a folder below another, made as needed; no link below that is followed.

    Raises:
        OSError: it cannot be made, or something else is in its place.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        root /= name
        try:
            root.mkdir()
        except OSError:  # of several kinds where it exists already
            if not os.path.lexists(root):
                raise
        check_kind(root, is_folder=True)
    return root


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the block a hidden path in the same folder; its file takes the place of `path` when the block ends.

    Folders are made as needed. A pipe or a device is written to as it is.

    Raises:
        OSError: it cannot be written; a file that was there stays as it was.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    folder_below(path.parent)
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{secrets.token_hex()}")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give the block an empty folder of the same name in a hidden folder, and move it to `path` when the block ends.

    It replaces a folder at `path`. Its files get the mode of other new files.

    Raises:
        OSError: the folder cannot be written.
    """
    hidden = path.with_name(f"{UNFINISHED}{os.getpid()}-{secrets.token_hex()}")
    unfinished = hidden / path.name
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for file in filter(Path.is_file, unfinished.rglob("*")):
            set_mode(file, unfinished.stat().st_mode & 0o666)
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def locked(path: Path, timeout: float | None = None, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a file, which is made as needed and stays; other processes and threads wait for it.

    Args:
        path: of the lock.
        timeout: seconds to wait; by default for ever.
        on_wait: is called once where the lock is held by others.

    Raises:
        TimeoutError: others have held it for too long.
        OSError: the file cannot be made, or something else is in its place.
    """
    from filelock import FileLock

    folder_below(path.parent)
    with suppress(FileNotFoundError):
        check_kind(path, is_folder=False)
    path.touch()  # `FileLock` would try an unwritable place for ever
    lock = FileLock(path)
    try:
        held = lock.acquire(blocking=False)
    except TimeoutError:
        on_wait()
        held = lock.acquire(timeout=timeout)
    with held:
        yield
