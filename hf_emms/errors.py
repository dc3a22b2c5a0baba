"""Errors and notes, each with a code and a text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hf_emms.texts import Text, joined, printable, redacted


@dataclass(frozen=True)
class Note:
    """A fact about a dataset, a checkpoint or a ranking that a user might act on.

    Attributes:
        code: A stable identifier that programs and tests compare, such as ``"texts-truncated"``.
        text: One line with the number first.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


class EmmsError(ValueError):
    """An error that the user can act on. It is a ValueError, like the errors of other libraries.

    `message` and `hint` are written in the hint style of the process that raises the error.

    Args:
        code: A stable identifier that programs and tests compare, such as ``"unknown-layer"``.
        message: What happened, and the value that caused it.
        hint: The command or setting that fixes it, see `setting_ref`.
    """

    def __init__(self, code: str, message: str | Text, hint: str | Text | None = None) -> None:
        self.code, self.message = code, str(joined([message]))
        self.hint = str(joined([hint])) if hint else None
        super().__init__(self.code, self.message, self.hint)  # pickle calls the class with these arguments

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


def check_type(name: str, value: Any, *allowed: type) -> None:
    """Raise an EmmsError if an argument has none of the allowed types."""
    if not isinstance(value, allowed):
        words = " or ".join(kind.__name__ for kind in allowed)
        raise EmmsError("wrong-type", f"{name} is {value!r:.80}; its type must be {words}")


# Characters per reason, because validators of configurations print complete files.
MAX_REASON = 1000
# Rust packages such as tokenizers raise it for internal errors. It is not an `Exception`, and no module exports it.
_PANIC = "PanicException"


@contextmanager
def checkpoint_errors() -> Iterator[None]:
    """Raise any error inside the block, Rust panics included, as an `EmmsError` with a single line.

    Every process can unpickle this error. Interrupts pass unchanged.
    """
    try:
        yield
    # The only broad guard: a checkpoint may raise anything, and the other rows must survive.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        code = error.code if isinstance(error, EmmsError) else "checkpoint-failed"
        raise EmmsError(code, one_line(error)) from error


def one_line(error: BaseException) -> str:
    """Return an error as one line without tokens: its message and hint, or its class and message."""
    if isinstance(error, EmmsError):
        parts = [error.message, error.hint]
        return " → ".join(_on_one_line(part) for part in parts if part)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 (`str` of an unknown error may fail)
        message = ""
    return _on_one_line(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def _on_one_line(text: str) -> str:
    return printable(redacted(" ".join(text.split())[:MAX_REASON]))
