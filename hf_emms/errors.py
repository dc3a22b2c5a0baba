"""The error that users see, without tokens and control characters, what raises it, and how a stopped command ends."""

import os
import re
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, SupportsIndex

# What pip installs hf-emms from, and what that is: on a package index it is "hf-emms", which needs no words.
PACKAGE, PACKAGE_NOTE = "./hf-emms", "  # a clone of its repository; on no package index yet"

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
# User and password, or a token in their place, in an address: https://TOKEN@github.com/…
_LOGIN = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def redacted(text: str) -> str:
    """The text without access tokens of the Hub, and without the logins of addresses."""
    return _LOGIN.sub("…", _TOKEN.sub("hf_…", text))


def printable(text: str) -> str:
    """The text; what could steer a terminal, or cannot be encoded, is shown escaped. Lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def install_command(extra: str = "") -> str:
    """The command that installs hf-emms, with one of its extras."""
    package = f"'{PACKAGE}[{extra}]'" if extra else PACKAGE
    return f"pip install {package}{PACKAGE_NOTE}"


class EmmsError(ValueError):
    """An error that the user can act on; a ValueError, as other libraries raise.

    Args:
        message: what happened, and which value caused it.
        hint: the command or argument that fixes it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = printable(redacted(message))
        self.hint = printable(redacted(hint)) if hint else hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


_TYPE_WORDS: dict[type, str] = {
    str: "a text",
    bytes: "bytes",
    SupportsIndex: "a whole number",
    os.PathLike: "a path",
    Iterable: "a list",
    types.NoneType: "None",
}


def check_type(name: str, value: Any, *allowed: type) -> None:
    """Refuse an argument of a type that is not allowed, before Python says so in words of its own.

    Raises:
        EmmsError: the value is of none of the types.
    """
    if not isinstance(value, allowed):
        words = " or ".join(_TYPE_WORDS.get(kind, f"a {kind.__name__}") for kind in allowed)
        raise EmmsError(f"{name} is {value!r:.80}; it must be {words}")


# Characters of a reason: validators of configurations print whole files.
MAX_REASON = 1000
# Exit codes of a command that Ctrl-C or SIGTERM stops, and what it prints.
INTERRUPTED, TERMINATED = 130, 143
STOPPED = "Stopped. Finished checkpoints are cached; run the same command again to continue."
# Those that reached this command: within an import, one can become another error.
interruptions: list[KeyboardInterrupt] = []


def exit_code(stop: BaseException | None) -> int:
    """Of a command that this or an earlier interruption stopped: SIGTERM is a ``KeyboardInterrupt(TERMINATED)``."""
    stop = interruptions[0] if interruptions else stop
    return TERMINATED if isinstance(stop, KeyboardInterrupt) and TERMINATED in stop.args else INTERRUPTED


@contextmanager
def checkpoint_errors() -> Iterator[None]:
    """Turns what a checkpoint raises into an `EmmsError` of one line, which every process can unpickle."""
    try:
        yield
    # The one wide guard: files and code of others may raise anything, and the other rows must not be lost for it.
    except Exception as error:
        raise EmmsError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """Message and hint of an error as one line, or its class and message; without tokens, since rows are published."""
    if isinstance(error, EmmsError):
        parts = [error.message, error.hint or ""]
    else:
        try:
            message = str(error)
        except Exception:  # noqa: BLE001 (an error of others may be unable to say what it is)
            message = ""
        parts = [f"{type(error).__name__}: {message}" if message else type(error).__name__]
    return printable(redacted(" → ".join(" ".join(part.split())[:MAX_REASON] for part in parts if part)))
