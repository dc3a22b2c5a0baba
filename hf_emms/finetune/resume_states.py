"""Files of runs: states and models, of which only whole ones are used, and locks, so that one process trains a run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from hf_emms.cache.files import check_kind, folder_below, locked, set_mode
from hf_emms.errors import EmmsError, setting_ref

_SEAL = "digest.json"
_STATE = "trainer_state.json"
# The numbers of errors of a full disk; those of safetensors and torch have none.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None)
MODEL_SEAL = ".whole"


class ModelSeal(msgspec.Struct, frozen=True):
    """What the folder of a model holds, written when the model was.

    Attributes:
        steps: how many the model was trained for.
        unfinished: how far the training came where a time limit ended it, see `TrainingRun`.
        digests: of the model's files, by path.
    """

    steps: int
    unfinished: str | None
    digests: dict[str, str]


class StorageError(EmmsError):
    """A state or a model of a run could not be written, which is a failure of the disk, not of the checkpoint."""


class LostStateError(EmmsError):
    """A state of a run was removed or changed while the run went on."""


def storage_error(path: Path, error: Exception) -> StorageError:
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    remedy = "free some space, or " if getattr(error, "errno", None) in _FULL else ""
    if isinstance(error, FileExistsError) and error.filename:
        path, remedy = Path(error.filename), "remove it, or "
    return StorageError(
        f"{path} cannot be written: {reason}",
        f"{remedy}name another folder (HF_EMMS_CACHE=/FOLDER, "
        + setting_ref("save_model", ...)
        + "); finished runs are kept",
    )


@contextmanager
def unfinished_folder(root: Path | None, digest: str) -> Iterator[Path]:
    """Yield the folder for the states of an unfinished run: in the cache, where the next process finds them.

    Raises:
        StorageError: the folder cannot be made, or holds something else than files and folders.
    """
    if root is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            yield Path(temporary) / "run"
        return
    try:
        folder = folder_below(root, "unfinished", digest)
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                with suppress(FileNotFoundError):  # another machine, which does not see the lock, has removed it
                    check_kind(Path(parent, name), is_folder=name in folders)
    except OSError as error:
        raise storage_error(root / "unfinished" / digest, error) from error
    yield folder


@contextmanager
def locked_run(root: Path | None, digest: str, deadline: float | None, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a run; another process or thread waits, and then finds the result in the cache.

    Raises:
        TimeoutError: the deadline, of `time.time`, has passed.
        StorageError: the lock cannot be made.
    """
    if root is None:
        yield
        return
    seconds = None if deadline is None else max(0.0, deadline - time.time())
    path = root / "locks" / f"{digest}.lock"
    with ExitStack() as stack:
        try:
            folder_below(root, "locks")
            stack.enter_context(locked(path, seconds, on_wait))
        except TimeoutError:
            raise
        except OSError as error:
            raise storage_error(path, error) from error
        yield


def seal(state: Path) -> None:
    """Mark a state as whole, by the digests of its files; who may read one of them may read all."""
    unfinished = state / f"{_SEAL}.unfinished"
    unfinished.write_text(json.dumps(_digests(state)))
    _set_modes(state, unfinished.stat().st_mode)
    unfinished.replace(state / _SEAL)


def seal_model(folder: Path, steps: int, unfinished: str | None) -> None:
    """Write into the folder of a model what it holds, see `ModelSeal`; its files get the mode of that file."""
    seal = ModelSeal(steps=steps, unfinished=unfinished, digests=_digests(folder))
    (folder / MODEL_SEAL).write_bytes(msgspec.json.encode(seal))
    _set_modes(folder, (folder / MODEL_SEAL).stat().st_mode)


def _set_modes(folder: Path, mode: int) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            set_mode(path, mode)


def file_digest(path: Path) -> str:
    """Return the BLAKE2b digest of a file as hex digits; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def check_whole(state: Path) -> None:
    """Refuse a state that has been changed since it was sealed.

    Raises:
        LostStateError: it was changed, or is gone.
    """
    if not _is_whole(state):
        raise LostStateError(f"{state} was changed by another process", "run the same command again")


def remove_state(state: Path) -> None:
    """Delete a state so that no reader takes a part of it for the whole."""
    (state / _SEAL).unlink(missing_ok=True)
    shutil.rmtree(state, ignore_errors=True)


def newest_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the path and the content of the last state in a folder; None if any state in it is damaged."""
    states = sorted(folder.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    sealed = [path for path in states if (path / _SEAL).is_file()]
    if not sealed or not all(map(_is_whole, sealed)):
        return None
    try:
        content = json.loads((sealed[0] / _STATE).read_text())
    except (OSError, ValueError):
        return None
    best = content.get("best_model_checkpoint")
    return (sealed[0], content) if best is None or Path(best) in sealed else None


def _is_whole(state: Path) -> bool:
    try:
        return bool(json.loads((state / _SEAL).read_text()) == _digests(state))
    except (OSError, ValueError):
        return False


def _digests(state: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(state.rglob("*")):
        if path.is_file() and path.name != _SEAL:
            digests[path.relative_to(state).as_posix()] = file_digest(path)
    return digests
