"""Report the progress of a run to a receiver of events."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hf_emms.ranking.records import Row

# Seconds until the first report, and between reports.
_FIRST, _NEXT = 3.0, 5.0
LOADING = "loading libraries"
# The nested blocks of `noted_while` per thread: activity and start time.
_stages = threading.local()


class Progress:
    """A receiver of events, which ignores them: override what you need.

    Each checkpoint sends its events in this order. Several checkpoints may run at once.
    """

    def expect(self, count: int, what: str) -> None:
        """Receive the number of checkpoints of the run."""

    def started(self, checkpoint: str, inputs: int) -> None:
        """Receive that a checkpoint starts, and the number of its inputs."""

    def advanced(self, checkpoint: str, inputs: int) -> None:
        """Receive the number of further inputs that a checkpoint has finished."""

    def finished(self, row: Row) -> None:
        """Receive the row of a checkpoint, which may have failed."""

    def noted(self, message: str) -> None:
        """Receive a message for the user, at any time."""

    def working(self, what: str, seconds: float) -> None:
        """Receive every few seconds, from another thread, the current activity and its duration."""


@contextmanager
def noted_while(progress: Progress, what: str, *, first: float = _FIRST, every: float = _NEXT) -> Iterator[None]:
    """Report the block's activity after a few seconds, and then regularly.

    If blocks of a thread are nested, the innermost is reported. A block must not yield to other code.
    """
    stack: list[tuple[str, float]] = _stages.__dict__.setdefault("stack", [])
    stack.append((what, time.monotonic()))
    try:
        if len(stack) > 1:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=_report, args=(progress, stack, ended, first, every), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
    finally:
        stack.pop()


def _report(
    progress: Progress, stack: list[tuple[str, float]], ended: threading.Event, first: float, every: float
) -> None:
    wait = first
    while not ended.wait(wait):
        what, since = stack[-1]
        seconds = time.monotonic() - since
        if seconds >= first:
            progress.working(what, seconds)
        wait = every
