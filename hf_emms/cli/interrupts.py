"""How a command ends if it is stopped, or if the system has no more files, memory or processes."""

from __future__ import annotations

from hf_emms.errors import one_line

# Exit codes and message of a command that Ctrl-C or SIGTERM stopped.
INTERRUPTED, TERMINATED = 130, 143
STOPPED = "Stopped. Finished checkpoints are cached; run the same command again to continue."
# Interrupts that this command received. During an import, Python may replace an interrupt with another error.
interruptions: list[KeyboardInterrupt] = []


def exit_code(stop: BaseException | None) -> int:
    """Return the exit code of a stopped command. For SIGTERM, `stop` is ``KeyboardInterrupt(TERMINATED)``."""
    stop = interruptions[0] if interruptions else stop
    return TERMINATED if isinstance(stop, KeyboardInterrupt) and TERMINATED in stop.args else INTERRUPTED


def system_error(error: OSError | MemoryError) -> str:
    """Return the message for a system error: no more files, memory or processes."""
    return f"Error: {one_line(error)} (hf-emms --debug … shows where; ulimit -a shows the limits)"
