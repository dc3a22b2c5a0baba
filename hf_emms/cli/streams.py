"""Standard streams that never end a command: closed or full ones are skipped, access tokens are masked."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from hf_emms.errors import redacted


class SafeStream:
    """A text stream for stdout or stderr.

    Args:
        stream: where the text goes; None if it was closed before the program started.

    Attributes:
        error: why the first text that was lost could not be written.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.error: Exception | None = None
        if stream is None:
            self.error = OSError(errno.EBADF, "it is closed")
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (as long as the program runs)
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text without access tokens; what the encoding lacks is escaped."""
        text = redacted(text)
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:  # a ValueError: it is closed
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flushes the stream."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: Exception) -> None:
        """Sends everything else to nowhere; the interpreter would fail again when it flushes the stream at exit."""
        self.error = self.error or error
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def safe_streams() -> Iterator[SafeStream]:
    """Replaces stdout and stderr by safe ones inside the block; gives that of stdout."""
    _open_closed_descriptors()
    stdout, stderr = SafeStream(sys.stdout), SafeStream(sys.stderr)
    with contextlib.redirect_stdout(cast(TextIO, stdout)), contextlib.redirect_stderr(cast(TextIO, stderr)):
        try:
            yield stdout
        finally:
            stdout.flush()
            stderr.flush()


def _open_closed_descriptors() -> None:
    """Opens descriptors 0 to 2 that are closed: the next file would get them, and whatever libraries print."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest one that is free
