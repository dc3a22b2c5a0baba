"""The folder of an unfinished run and its lock, so that one process at a time trains a run and others resume it."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hf_emms.cache.files import folder_below, locked
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.ranking import TrainingRun

# Error numbers of a full disk. Errors of safetensors and torch have none.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None)


class StorageError(EmmsError):
    """A state or a model of a run cannot be written: the disk fails, not the checkpoint."""


class UnsavedModelError(StorageError):
    """The model of a finished `run` could not be written."""

    run: TrainingRun


def storage_error(path: Path, error: Exception) -> StorageError:
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    remedy = "free some space, or " if getattr(error, "errno", None) in _FULL else ""
    if isinstance(error, FileExistsError) and error.filename:
        path, remedy = Path(error.filename), "remove it, or "
    return StorageError(
        f"{path} cannot be written: {reason}",
        f"{remedy}choose another folder (HF_EMMS_CACHE=/FOLDER, "
        + setting_ref("save_model", ...)
        + "); finished runs are kept",
    )


@contextmanager
def unfinished_folder(root: Path | None, digest: str) -> Iterator[Path]:
    """Yield the folder for the states of an unfinished run, inside the cache so that the next process finds them.

    Raises:
        StorageError: The folder cannot be created.
    """
    if root is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)
        return
    try:
        folder = folder_below(root, "unfinished", digest)
    except OSError as error:
        raise storage_error(root / "unfinished" / digest, error) from error
    yield folder


@contextmanager
def locked_run(root: Path | None, digest: str, deadline: float | None, on_wait: Callable[[], None]) -> Iterator[None]:
    """Lock a run for the block. Other processes and threads wait, and then find the result in the cache.

    Raises:
        TimeoutError: The deadline, a `time.time`, has passed.
        StorageError: The lock cannot be created.
    """
    if root is None:
        yield
        return
    seconds = None if deadline is None else max(0.0, deadline - time.time())
    path = root / "locks" / f"{digest}.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, seconds, on_wait))
        except TimeoutError:
            raise
        except OSError as error:
            raise storage_error(path, error) from error
        yield
