"""Wait for another thread or process, even on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# The timeout in seconds. It is longer than any test takes on a busy machine, but shorter than pytest's timeout.
PATIENCE = 110.0


def eventually(holds: Callable[[], Any]) -> Any:
    """Repeat a call until it returns a true value, and return it."""
    until = time.monotonic() + PATIENCE
    while True:
        asked = time.monotonic()
        if result := holds():
            return result
        took = time.monotonic() - asked
        assert asked < until, "it did not happen in time"
        time.sleep(max(0.01, 4 * took))  # use at most a fifth of a core
