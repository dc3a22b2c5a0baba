"""Atomic writes, file locks, and texts in the encodings of other programs."""

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
# Bytes of a file of settings, scores or a ranking.
MAX_TEXT = 64 << 20


def decoded(content: bytes) -> str:
    """Decode UTF-8, or the encoding of a byte order mark; other bytes raise a ValueError."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig")
    if "\0" in text:
        raise ValueError("it is not UTF-8 text")
    return text


def read_limited(path: Path, limit: int = MAX_TEXT) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: The file cannot be read, or has more than `limit` bytes.
    """
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit >> 20} MB", str(path))
    return content


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a complete file or nothing; text is encoded as UTF-8."""
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(folder: Path) -> None:
    """Raise an OSError unless a folder, or its nearest existing parent, is writable."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    tempfile.TemporaryFile(dir=existing).close()


def check_kind(path: Path, *, is_folder: bool) -> None:
    """Check that a path is a regular file, or a folder. Links are refused, because they may point anywhere.

    Raises:
        FileNotFoundError: The path does not exist.
        FileExistsError: The path is something else.
        OSError: The path is not accessible.
    """
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFLNK: "a link, which hf_emms does not follow"}
    kind = kinds.get(stat.S_IFMT(mode), "a pipe, a socket or a device")
    raise FileExistsError(
        errno.EEXIST, f"{path.name} is not a {'folder' if is_folder else 'file'}, but {kind}", str(path)
    )


def set_mode(path: Path, mode: int) -> None:
    """Set the mode of a file if it differs. Files that safetensors writes are readable only by their owner."""
    if path.stat().st_mode != mode:
        path.chmod(stat.S_IMODE(mode))


def folder_below(root: Path, *names: str) -> Path:
    """Create and return a folder below another, without following links below `root`.

    Raises:
        OSError: The folder cannot be created, or something else has its name.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        root /= name
        try:
            root.mkdir()
        except OSError:  # the class of the error depends on what exists
            if not os.path.lexists(root):
                raise
        check_kind(root, is_folder=True)
    return root


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a hidden path in the same folder. When the block ends, its file replaces `path`.

    Creates parent folders. Yields a pipe or a device itself.

    Raises:
        OSError: The file cannot be written; an existing file is unchanged.
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
    """Yield an empty folder in a hidden folder. When the block ends, it replaces `path`.

    Its files get the mode of other new files.

    Raises:
        OSError: The folder cannot be written.
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
    """Acquire a file lock for the block; other processes and threads wait for it. The lock file stays.

    Args:
        path: The lock file.
        timeout: Seconds to wait; without a limit by default.
        on_wait: Called once if the lock is already held.

    Raises:
        TimeoutError: The lock was not released in time.
        OSError: The file cannot be created, or something else has its name.
    """
    from filelock import FileLock

    folder_below(path.parent)
    with suppress(FileNotFoundError):
        check_kind(path, is_folder=False)
    path.touch()  # `FileLock` retries forever in an unwritable folder
    lock = FileLock(path)
    try:
        held = lock.acquire(blocking=False)
    except TimeoutError:
        on_wait()
        held = lock.acquire(timeout=timeout)
    with held:
        yield
