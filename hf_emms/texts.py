"""Texts that refer to settings, each written in the style of an interface and without access tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    """Return the command that installs hf-emms with an extra.

    Nobody owns the name hf-emms on a package index, so the command names the source: the address of the repository from
    pyproject.toml, or a clone if it has none.
    """
    address, extras = repository(), f"[{extra}]" if extra else ""
    if address:
        return f"pip install 'hf-emms{extras} @ git+{address}'"
    package = f"'./hf-emms{extras}'" if extra else "./hf-emms"
    return f"pip install {package}  # a clone of its repository; on no package index yet"


def repository() -> str:
    """Return the address of the repository that pyproject.toml names as ``Repository``; empty without one."""
    from importlib import metadata

    try:
        urls = metadata.metadata("hf-emms").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:  # in a published Space
        return ""
    return next((url.partition(", ")[2] for url in urls if url.startswith("Repository, ")), "")


@dataclass(frozen=True)
class SettingRef:
    """A reference to a setting inside a text, with values to suggest.

    It has the name of the Python argument.

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
    """How an interface (Python or command line) writes a setting in messages."""

    write: Callable[[SettingRef], str]
    separator: str
    command: str  # of a ranking, with {} for its settings


PYTHON = HintStyle(_as_argument, ", ", "hf_emms.rank({})")
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


class Command(tuple[SettingRef, ...]):
    """The settings of a complete command."""


Part = str | tuple[SettingRef, ...]


@dataclass(frozen=True)
class Text:
    """A text that refers to settings; `str` writes them in the style of the current interface.

    ``+`` joins texts. Formatting a text into an f-string loses the references.
    """

    parts: tuple[Part, ...]

    def written(self, style: HintStyle) -> str:
        """Return the text with its settings in a style, without control characters and access tokens."""
        return printable(redacted("".join(_written(part, style) for part in self.parts)))

    def __str__(self) -> str:
        return self.written(_hint_style)

    def __add__(self, other: str | Text) -> Text:
        return Text(self.parts + _parts(other))

    def __radd__(self, other: str) -> Text:
        return Text((other, *self.parts))


def _written(part: Part, style: HintStyle) -> str:
    if isinstance(part, str):
        return part
    settings = style.separator.join(map(style.write, part))
    return style.command.format(settings) if isinstance(part, Command) else settings


def setting_ref(setting: str, *values: Any) -> Text:
    """Return a text that names a setting, or that suggests values for it.

    `setting` is the name of an argument, or ``ROLE_column`` for a column of a task.
    """
    return Text(((SettingRef(setting, values),),))


def setting_refs(*uses: Text) -> Text:
    """Join several `setting_ref` as the settings of a call: ``task="x", label_column="y"``."""
    return Text((_references(uses),))


def command(*uses: Text) -> Text:
    """Return the command that ranks with these settings, as a user can paste it."""
    return Text((Command(_references(uses)),))


def _references(uses: Iterable[Text]) -> tuple[SettingRef, ...]:
    return tuple(ref for text in uses for part in text.parts if isinstance(part, tuple) for ref in part)


def joined(texts: Iterable[str | Text], separator: str = ", ") -> Text:
    """Join texts, and keep the settings that they refer to."""
    return Text(tuple(part for text in texts for part in (separator, *_parts(text)))[1:])


def _parts(text: str | Text) -> tuple[Part, ...]:
    return (text,) if isinstance(text, str) else text.parts
