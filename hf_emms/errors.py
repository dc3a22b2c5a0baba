"""Errors, notes, texts that refer to settings, number formats, and exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

# Once hf-emms is on a package index, this is "hf-emms" without a note.
PACKAGE, PACKAGE_NOTE = "./hf-emms", "  # a clone of its repository; on no package index yet"

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
# User and password, or a token, in a URL: https://TOKEN@github.com/…
_LOGIN = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def redacted(text: str) -> str:
    """Return the text without access tokens of the Hub and without the logins in URLs."""
    return _LOGIN.sub("…", _TOKEN.sub("hf_…", text))


def printable(text: str) -> str:
    """Escape control characters and characters that cannot be encoded, except line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def install_command(extra: str = "") -> str:
    """Return the command that installs hf-emms with an extra."""
    package = f"'{PACKAGE}[{extra}]'" if extra else PACKAGE
    return f"pip install {package}{PACKAGE_NOTE}"


@dataclass(frozen=True)
class SettingRef:
    """A setting in a text, by the name of its Python argument, and suggested values for it.

    Several values are alternatives; ``...`` is a placeholder for the user's value.
    """

    setting: str
    values: tuple[Any, ...] = ()


def _as_argument(use: SettingRef) -> str:
    return f"{use.setting}={' or '.join(map(_literal, use.values))}" if use.values else use.setting


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return "..." if value is ... else json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


class HintStyle(NamedTuple):
    """How an interface writes a setting, and the separator between settings that belong together."""

    write: Callable[[SettingRef], str]
    separator: str


PYTHON = HintStyle(_as_argument, ", ")
"""Python arguments: ``box_format="xywh" or "xyxy"``, or only the name without values."""
_hint_style = PYTHON


@contextmanager
def hint_style(style: HintStyle) -> Iterator[None]:
    """Write settings in this style inside the block; the default is Python arguments."""
    global _hint_style
    before, _hint_style = _hint_style, style
    try:
        yield
    finally:
        _hint_style = before


def current_hint_style() -> HintStyle:
    """Return the style of this process, to pass it on to a worker process."""
    return _hint_style


Part = str | tuple[SettingRef, ...]


@dataclass(frozen=True)
class Text:
    """A text that refers to settings; `str` writes them in the style of the current interface.

    ``+`` joins texts. Formatting a text into an f-string loses the references.
    """

    parts: tuple[Part, ...]

    def written(self, style: HintStyle) -> str:
        """Return the text with its settings in a style, without control characters and access tokens."""
        parts = (part if isinstance(part, str) else style.separator.join(map(style.write, part)) for part in self.parts)
        return printable(redacted("".join(parts)))

    def __str__(self) -> str:
        return self.written(_hint_style)

    def __add__(self, other: str | Text) -> Text:
        return Text(self.parts + _parts(other))

    def __radd__(self, other: str) -> Text:
        return Text((other, *self.parts))


def setting_ref(setting: str, *values: Any) -> Text:
    """Return a text that names a setting, or that suggests values for it.

    `setting` is the name of an argument, or ``ROLE_column`` for a column of a task.
    """
    return Text(((SettingRef(setting, values),),))


def setting_refs(*uses: Text) -> Text:
    """Join several `setting_ref` as the settings of a call: ``task="x", label_column="y"``."""
    return Text(
        (tuple(setting_ref for text in uses for part in text.parts if isinstance(part, tuple) for setting_ref in part),)
    )


def joined(texts: Iterable[str | Text], separator: str = ", ") -> Text:
    """Join texts, and keep their references."""
    return Text(tuple(part for text in texts for part in (separator, *_parts(text)))[1:])


def _parts(text: str | Text) -> tuple[Part, ...]:
    return (text,) if isinstance(text, str) else text.parts


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

    `message` and `hint` use the hint style of the process that reads them.

    Args:
        code: A stable identifier that programs and tests compare, such as ``"unknown-layer"``.
        message: What happened, and the value that caused it.
        hint: The command or setting that fixes it, see `setting_ref`.
    """

    def __init__(self, code: str, message: str | Text, hint: str | Text | None = None) -> None:
        self.code = code
        self.problem = joined([message])
        self.remedy = joined([hint]) if hint else None
        super().__init__(code, self.message, self.hint)  # the arguments for unpickling

    @property
    def message(self) -> str:
        return str(self.problem)

    @property
    def hint(self) -> str | None:
        return str(self.remedy) if self.remedy else None

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.remedy else self.message


def check_type(name: str, value: Any, *allowed: type) -> None:
    """Raise an EmmsError if an argument has none of the allowed types."""
    if not isinstance(value, allowed):
        words = " or ".join(kind.__name__ for kind in allowed)
        raise EmmsError("wrong-type", f"{name} is {value!r:.80}; its type must be {words}")


# Characters per reason, because validators of configurations print complete files.
MAX_REASON = 1000
# Rust packages such as tokenizers raise it for internal errors. It is not an `Exception`, and no module exports it.
_PANIC = "PanicException"
# Exit codes and message of a command that Ctrl-C or SIGTERM stopped.
INTERRUPTED, TERMINATED = 130, 143
STOPPED = "Stopped. Finished checkpoints are cached; run the same command again to continue."
# Interrupts that this command received. During an import, Python may replace an interrupt with another error.
interruptions: list[KeyboardInterrupt] = []


def exit_code(stop: BaseException | None) -> int:
    """Return the exit code of a stopped command. For SIGTERM, `stop` is ``KeyboardInterrupt(TERMINATED)``."""
    stop = interruptions[0] if interruptions else stop
    return TERMINATED if isinstance(stop, KeyboardInterrupt) and TERMINATED in stop.args else INTERRUPTED


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


def system_error(error: OSError | MemoryError) -> str:
    """Return the message for a system error: no more files, memory or processes."""
    return f"Error: {printable(redacted(one_line(error)))} (hf-emms --debug … shows where; ulimit -a shows the limits)"


def _on_one_line(text: str) -> str:
    return printable(redacted(" ".join(text.split())[:MAX_REASON]))


MISSING = "–"
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def pluralize(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 row", "1,034 rows"; `plural` if it does not end in s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def first_few(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return the first texts and the number of others: "a, b and 3 more"."""
    others = len(texts) - most
    return separator.join(texts[:most]) + (f" and {others:,} more" if others > 0 else "")


def format_count(count: int | None) -> str:
    """Return a number of parameters: "309k", "4.7M", "1.3B", or a dash if it is unknown."""
    if count is None:
        return MISSING
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            amount = count / scale
            return f"{amount:.0f}{unit}" if amount >= 100 or unit == "k" else f"{amount:.1f}{unit}"
    return str(count)


def format_bytes(count: float) -> str:
    """Return a size: "12 B", "1.5 MB", "20.0 GB"."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count:.0f} B"


def format_duration(seconds: float) -> str:
    """Return a duration in its largest unit: "42s", "3h", "2w"."""
    unit, scale = next(((unit, scale) for unit, scale in reversed(_SECONDS.items()) if seconds >= scale), ("s", 1.0))
    return f"{seconds / scale:.0f}{unit}"


def parse_count(text: str) -> int:
    """Parse a number such as "22000", "22K", "100M" or "1.5B"."""
    return round(_parse(text, _COUNTS, "number", "22000, 22K, 100M or 1.5B"))


def parse_duration(text: str, *, bare_seconds: bool = False) -> float:
    """Parse a duration such as "90s", "30m", "12h", "30d" or "8w" into seconds; `bare_seconds` also accepts "90"."""
    units = {"": 1.0, **_SECONDS} if bare_seconds else _SECONDS
    return _parse(text, units, "duration", "90s, 30m, 12h, 30d or 8w")


def _parse(text: str, units: Mapping[str, float], kind: str, examples: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in units:
        raise EmmsError("invalid-value", f"{text!r} is not a {kind}", f"write {examples}")
    return float(match[1]) * units[match[2]]
