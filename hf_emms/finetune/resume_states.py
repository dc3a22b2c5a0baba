"""The folder of an unfinished run and its lock, so that one process at a time trains a run and others resume it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hf_emms.cache.files import folder_below, locked
from hf_emms.errors import EmmsError
from hf_emms.texts import setting_ref


class StorageError(EmmsError):
    """A state or a model of a run cannot be written: the disk fails, not the checkpoint."""


def storage_error(path: Path, error: Exception) -> StorageError:
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    return StorageError(
        "cannot-write",
        f"{path} cannot be written: {reason}",
        "free some space, or choose another folder (HF_EMMS_CACHE=/FOLDER, "
        + setting_ref("save_model", ...)
        + "); finished runs are kept",
    )


@contextmanager
def locked_run(root: Path | None, digest: str, deadline: float | None, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Lock a run for the block, and yield the folder for its states. Other processes and threads wait.

    The folder is inside the cache, so that the next process finds the states.

    Raises:
        TimeoutError: The deadline, a `time.time`, has passed.
        StorageError: The lock or the folder cannot be created.
    """
    with ExitStack() as stack:
        if root is None:
            yield Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            return
        seconds = None if deadline is None else max(0.0, deadline - time.time())
        try:
            stack.enter_context(locked(root / "locks" / f"{digest}.lock", seconds, on_wait))
            folder = folder_below(root, "unfinished", digest)
        except TimeoutError:
            raise
        except OSError as error:
            raise storage_error(Path(error.filename or root), error) from error
        yield folder
