"""Events of a run that is going on, and who receives them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hf_emms.ranking.records import Row

# Seconds within which a user wants to know that something goes on, and from then on.
_FIRST, _NEXT = 3.0, 5.0
LOADING = "loading libraries"
# The blocks of `noted_while` that each thread is in: what they do, and since when.
_stages = threading.local()


class Progress:
    """A receiver of events, which ignores them: override what you need.

    Each checkpoint sends its events in this order. Several checkpoints may run at once.
    """

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

    def working(self, what: str, seconds: float) -> None:
        """Receive every few seconds, from another thread, what is going on and for how long."""


@contextmanager
def noted_while(progress: Progress, what: str, *, first: float = _FIRST, every: float = _NEXT) -> Iterator[None]:
    """Report within seconds, and again every few, that the block is at work.

    Of nested blocks of a thread the innermost is reported. A block must not yield to other code.
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
        progress.working(what, time.monotonic() - since)
        wait = every
