"""Events of a run that is going on, and who receives them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from hf_emms.errors import check_type
from hf_emms.formatting import format_duration
from hf_emms.ranking.records import Row

# Seconds after which a user wants to know that something is still going on.
_PATIENCE = 10.0


@runtime_checkable
class Progress(Protocol):
    """A receiver of events, for every checkpoint in this order; several checkpoints may be running at once."""

    def expect(self, count: int, what: str) -> None:
        """Receive how many checkpoints, or cells of a sweep, are going to be run or taken from the cache."""

    def started(self, checkpoint: str, inputs: int) -> None:
        """Receive that a checkpoint is going to be run on this many inputs."""

    def advanced(self, checkpoint: str, inputs: int) -> None:
        """Receive how many more inputs have been run."""

    def finished(self, row: Row) -> None:
        """Receive the row of a checkpoint, scored or failed."""

    def noted(self, message: str) -> None:
        """Receive a message for the user, at any time."""


class Silent:
    """A `Progress` that reports nothing."""

    def expect(self, count: int, what: str) -> None:
        pass

    def started(self, checkpoint: str, inputs: int) -> None:
        pass

    def advanced(self, checkpoint: str, inputs: int) -> None:
        pass

    def finished(self, row: Row) -> None:
        pass

    def noted(self, message: str) -> None:
        pass


@contextmanager
def reporting(progress: Progress | bool | None) -> Iterator[Progress]:
    """Give the block the receiver that an argument of users means.

    True is lines and bars on stderr, False nothing, and None the former where stderr is a terminal or in a notebook.
    """
    check_type("progress", progress, Progress, bool, type(None))
    if isinstance(progress, Progress):
        yield progress
        return
    from hf_emms.ranking.progress_bars import StderrProgress

    bars = StderrProgress()
    if progress or (progress is None and bars.is_watched):
        with bars:
            yield bars
    else:
        yield Silent()


@contextmanager
def noted_while(progress: Progress, what: str, *, every: float = _PATIENCE) -> Iterator[None]:
    """Report every few seconds that the block, which reports nothing itself, is still at work."""
    started, ended = time.monotonic(), threading.Event()

    def note() -> None:
        while not ended.wait(every):
            progress.noted(f"{what}: {format_duration(time.monotonic() - started)} so far")

    thread = threading.Thread(target=note, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
