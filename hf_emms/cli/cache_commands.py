"""hf-emms cache ls|rm|prune."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hf_emms.cli import output
from hf_emms.formatting import pluralize

if TYPE_CHECKING:
    from hf_emms.cache import Cache, Entry


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


class _Amount(click.ParamType):
    """A number with a unit, such as 30d or 5GB."""

    def __init__(self, name: str, pattern: str, units: dict[str, float]) -> None:
        self.name = name
        self._pattern = pattern
        self._units = units

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(self._pattern, value.strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a {self.name}", param, ctx)
        units = {unit.lower(): scale for unit, scale in self._units.items()}
        return float(match[1]) * units[match[2].lower()]


_AGE = _Amount("time such as 12h, 30d or 8w", r"(\d+(?:\.\d+)?)\s*([smhdw])", _SECONDS)
_SIZE = _Amount("size such as 500MB or 5GB", r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", _BYTES)


@click.group()
def cache() -> None:
    """Show and shrink what earlier runs kept (HF_EMMS_CACHE)."""


@cache.command("ls")
@click.option("--format", "format", type=click.Choice(output.LIST_FORMATS), help="[default: table; tsv in a pipe]")
@click.option("--quiet", "-q", is_flag=True, help="Print the digests only.")
def list_entries(format: str | None, quiet: bool) -> None:
    """List features, label tables and finished rows, last used first."""
    entries = _open().entries()
    if quiet:
        output.emit("\n".join(entry.digest for entry in entries))
        return
    format = format or output.default_format()
    people = format == "table"
    rows = [
        (
            entry.kind,
            entry.key.get("id", "damaged"),
            entry.key.get("revision", "")[: 14 if people else None],
            _size(entry.bytes) if people else entry.bytes,
            _age(time.time() - entry.used) if people else round(entry.used),
            entry.digest[: 12 if people else None],
        )
        for entry in entries
    ]
    output.print_records(("kind", "id", "revision", "size", "used", "digest"), rows, format)
    output.say(f"{_total(entries)} in {_open().root}")


@cache.command("rm")
@click.argument("prefixes", nargs=-1, metavar="ID|DIGEST...")
@click.option("--all", "everything", is_flag=True, help="Remove every entry.")
def remove(prefixes: tuple[str, ...], everything: bool) -> None:
    """Remove what belongs to a checkpoint or encoder, or single entries by the beginning of their digest."""
    if everything == bool(prefixes):
        raise click.UsageError("name checkpoints or digests, or pass --all")
    opened = _open()
    gone = opened.clear() if everything else [entry for prefix in prefixes for entry in opened.remove(prefix)]
    output.say(f"removed {_total(gone)}")


@cache.command()
@click.option("--older-than", type=_AGE, metavar="TIME", help="Remove what was not used for so long, e.g. 30d.")
@click.option("--max-size", type=_SIZE, metavar="SIZE", help="Shrink to this size, e.g. 5GB; least used goes first.")
def prune(older_than: float | None, max_size: float | None) -> None:
    """Remove old entries and what killed runs left behind."""
    if older_than is None and max_size is None:
        raise click.UsageError("say what may go: --older-than 30d or --max-size 5GB")
    gone = _open().prune(older_than=older_than, max_bytes=None if max_size is None else int(max_size))
    output.say(f"removed {_total(gone)}")


def _open() -> Cache:
    from hf_emms.cache import Cache, default_root

    return Cache(default_root(), output.say)


def _total(entries: Sequence[Entry]) -> str:
    return f"{pluralize(len(entries), 'entry', 'entries')}, {_size(sum(entry.bytes for entry in entries))}"


def _size(count: float) -> str:
    step = next((step for step in (1e12, 1e9, 1e6, 1e3) if count >= step), 1.0)
    unit = {1e12: "TB", 1e9: "GB", 1e6: "MB", 1e3: "kB", 1.0: "B"}[step]
    return f"{count / step:.{0 if unit == 'B' else 1}f} {unit}"


def _age(seconds: float) -> str:
    for unit in ("w", "d", "h", "m"):
        if seconds >= _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.0f}{unit} ago"
    return "now"
