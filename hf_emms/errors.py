"""Errors and notes, texts that refer to settings, numbers and sizes in sentences, and how a stopped command ends."""

from __future__ import annotations

import json
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex

# The source from which pip installs hf-emms, and a note on it: on a package index it is "hf-emms", without a note.
PACKAGE, PACKAGE_NOTE = "./hf-emms", "  # a clone of its repository; on no package index yet"

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
# User and password, or a token in their place, in an address: https://TOKEN@github.com/…
_LOGIN = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def redacted(text: str) -> str:
    """Return the text without access tokens of the Hub, and without the logins of addresses."""
    return _LOGIN.sub("…", _TOKEN.sub("hf_…", text))


def printable(text: str) -> str:
    """Return the text with characters escaped that steer a terminal or cannot be encoded; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def install_command(extra: str = "") -> str:
    """Return the command that installs hf-emms, with an extra."""
    package = f"'{PACKAGE}[{extra}]'" if extra else PACKAGE
    return f"pip install {package}{PACKAGE_NOTE}"


@dataclass(frozen=True)
class Use:
    """A setting that a text refers to, by its argument's name in Python, with the values that are suggested for it.

    Several values are alternatives; ``...`` stands for a value of the user's.
    """

    setting: str
    values: tuple[Any, ...] = ()


def _as_argument(use: Use) -> str:
    return f"{use.setting}={' or '.join(map(_literal, use.values))}" if use.values else use.setting


def _as_plain_words(use: Use) -> str:
    values = " or ".join(str(value) for value in use.values if value is not ...)
    return f"{use.setting.replace('_', ' ')} {values}".rstrip()


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return "..." if value is ... else json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


class HintStyle(NamedTuple):
    """How an interface says a reference, and the separator of several settings that are set together."""

    say: Callable[[Use], str]
    between: str


PYTHON = HintStyle(_as_argument, ", ")
"""Arguments: ``box_format="xywh" or "xyxy"``; the name alone without values."""
PLAIN = HintStyle(_as_plain_words, " and ")
"""What people say, for pages: "box format xywh or xyxy"."""
_words = PYTHON


@contextmanager
def hint_style(words: HintStyle) -> Iterator[None]:
    """Have texts that the process makes meanwhile name settings in these words; arguments of Python by default."""
    global _words
    before, _words = _words, words
    try:
        yield
    finally:
        _words = before


def current_hint_style() -> HintStyle:
    """Return the words of this process, for another process that works for it."""
    return _words


Part = str | tuple[Use, ...]


@dataclass(frozen=True)
class Text:
    """A text that refers to settings, or tells what to set; as a string it is in the words of the interface that runs.

    ``+`` joins it with other texts. A formatted string keeps the words alone, not the references.
    """

    parts: tuple[Part, ...]

    def said(self, words: HintStyle) -> str:
        """Return the text with its references in these words, without control characters and access tokens."""
        parts = (part if isinstance(part, str) else words.between.join(map(words.say, part)) for part in self.parts)
        return printable(redacted("".join(parts)))

    def __str__(self) -> str:
        return self.said(_words)

    def __add__(self, other: str | Text) -> Text:
        return Text(self.parts + _parts(other))

    def __radd__(self, other: str) -> Text:
        return Text((other, *self.parts))


def setting_ref(setting: str, *values: Any) -> Text:
    """Return a text that names a setting, or tells to set it to any of some values.

    `setting` is an argument's name; that of a task's column is ``ROLE_column``.
    """
    return Text(((Use(setting, values),),))


def setting_refs(*uses: Text) -> Text:
    """Return the references of several `setting_ref` as settings of a call: ``task="x", label_column="y"``."""
    return Text(
        (tuple(setting_ref for text in uses for part in text.parts if isinstance(part, tuple) for setting_ref in part),)
    )


def joined(texts: Iterable[str | Text], separator: str = ", ") -> Text:
    """Return several texts joined, with the references of each."""
    return Text(tuple(part for text in texts for part in (separator, *_parts(text)))[1:])


def _parts(text: str | Text) -> tuple[Part, ...]:
    return (text,) if isinstance(text, str) else text.parts


@dataclass(frozen=True)
class Note:
    """A fact about a dataset, a checkpoint or a ranking that a user might act on.

    Attributes:
        code: a stable identifier that programs and tests compare, such as ``"texts-truncated"``.
        text: one line, the number first.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


class EmmsError(ValueError):
    """An error that the user can act on; a ValueError, as other libraries raise.

    `message` and `hint` are in the words of the interface that reads them, an unpickled error's too.

    Args:
        message: what happened, and which value caused it.
        hint: the command or setting that fixes it, see `setting_ref`.
    """

    def __init__(self, message: str | Text, hint: str | Text | None = None) -> None:
        self.problem = joined([message])
        self.remedy = joined([hint]) if hint else None
        super().__init__(self.message)

    @property
    def message(self) -> str:
        return str(self.problem)

    @property
    def hint(self) -> str | None:
        return str(self.remedy) if self.remedy else None

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.remedy else self.message


_TYPE_WORDS: dict[type, str] = {
    str: "a text",
    bytes: "bytes",
    SupportsIndex: "a whole number",
    os.PathLike: "a path",
    Iterable: "a list",
    bool: "True or False",
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
# Packages in Rust, such as tokenizers, raise it for mistakes of their own; it is no `Exception`, and no module has it.
_PANIC = "PanicException"
# Exit codes of a command that Ctrl-C or SIGTERM stops, and what it prints.
INTERRUPTED, TERMINATED = 130, 143
STOPPED = "Stopped. Finished checkpoints are cached; run the same command again to continue."
# Interrupts that this command received: during an import, an interrupt can be replaced by another error.
interruptions: list[KeyboardInterrupt] = []


def exit_code(stop: BaseException | None) -> int:
    """Return the exit code of a stopped command; SIGTERM is a ``KeyboardInterrupt(TERMINATED)``."""
    stop = interruptions[0] if interruptions else stop
    return TERMINATED if isinstance(stop, KeyboardInterrupt) and TERMINATED in stop.args else INTERRUPTED


@contextmanager
def checkpoint_errors() -> Iterator[None]:
    """Turn any error of a checkpoint into an `EmmsError` of a single line, which every process can unpickle.

    A panic of Rust is an error, too; interruptions pass.
    """
    try:
        yield
    # The only wide guard: files and code of others may raise anything, and the other rows must not be lost for it.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise EmmsError(_line(error)) from error


def one_line(error: BaseException) -> str:
    """Return an error as a line: message and hint, or class and message; without tokens, since rows are published."""
    return str(_line(error))


def system_error(error: OSError | MemoryError) -> str:
    """Return the line that a command ends with where the system refuses it files, memory or processes."""
    return f"Error: {printable(redacted(one_line(error)))} (hf-emms --debug … shows where; ulimit -a shows the limits)"


def _line(error: BaseException) -> Text:
    if isinstance(error, EmmsError):
        texts = [error.problem, error.remedy] if error.remedy else [error.problem]
        return joined(([Text(tuple(map(_on_one_line, text.parts))) for text in texts]), " → ")
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 (an error of others may be unable to say what it is)
        message = ""
    return Text((_on_one_line(f"{type(error).__name__}: {message}" if message else type(error).__name__),))


def _on_one_line(part: Part) -> Part:
    return re.sub(r"\s+", " ", part)[:MAX_REASON] if isinstance(part, str) else part


MISSING = "–"
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_BYTES = {
    prefix + b: scale for prefix, scale in {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}.items() for b in ("", "b")
}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def pluralize(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 row", "1,034 rows"; `plural` where it doesn't end in s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def first_few(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return the first texts in a line, and how many others there are: "a, b and 3 more"."""
    others = len(texts) - most
    return separator.join(texts[:most]) + (f" and {others:,} more" if others > 0 else "")


def format_count(count: int | None) -> str:
    """Return a number of parameters: "309k", "4.7M", "1.3B"; a dash where it is unknown."""
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
    """Return the number behind "22000", "22K", "100M" or "1.5B"."""
    return round(_parse(text, _COUNTS, "number", "22000, 22K, 100M or 1.5B"))


def parse_bytes(text: str) -> int:
    """Return the bytes behind "1000", "500MB" or "5 GB"."""
    return round(_parse(text, _BYTES, "size", "500MB or 5GB"))


def parse_duration(text: str, *, bare_seconds: bool = False) -> float:
    """Return the seconds behind "90s", "30m", "12h", "30d" or "8w", with `bare_seconds` also behind "90"."""
    units = {"": 1.0, **_SECONDS} if bare_seconds else _SECONDS
    return _parse(text, units, "duration", "90s, 30m, 12h, 30d or 8w")


def _parse(text: str, units: Mapping[str, float], kind: str, examples: str) -> float:
    """Return a number times its unit, or an EmmsError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in units:
        raise EmmsError(f"{text!r} is no {kind}", f"write {examples}")
    return float(match[1]) * units[match[2]]
