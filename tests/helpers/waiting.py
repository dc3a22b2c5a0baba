"""Waiting for what another thread or process does: as long as a busy machine takes, and no longer than it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Seconds that nothing of the tests takes, whatever else the machine is doing; less than a test may take.
PATIENCE = 110.0


def eventually(holds: Callable[[], Any]) -> Any:
    """The first true value that a call gives."""
    until = time.monotonic() + PATIENCE
    while True:
        asked = time.monotonic()
        if result := holds():
            return result
        took = time.monotonic() - asked
        assert asked < until, "it did not happen in time"
        time.sleep(max(0.01, 4 * took))  # asking takes a fifth of a core at most from what is waited for
