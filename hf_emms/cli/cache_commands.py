"""hf-emms cache ls|rm|prune."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from hf_emms.cli import output
from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes, format_duration, parse_bytes, parse_duration, pluralize

if TYPE_CHECKING:
    from hf_emms.cache import Cache, Entry


class _Amount(click.ParamType):
    """A number with a unit, such as 30d or 5GB."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return self._parse(value)
        except EmmsError as error:
            self.fail(f"{error.message}: {error.hint}", param, ctx)


_DURATION, _SIZE = _Amount("duration", parse_duration), _Amount("size", parse_bytes)


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
            format_bytes(entry.bytes) if people else entry.bytes,
            f"{format_duration(time.time() - entry.used)} ago" if people else round(entry.used),
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
@click.option("--older-than", type=_DURATION, metavar="TIME", help="Remove what was not used for so long, e.g. 30d.")
@click.option("--max-size", type=_SIZE, metavar="SIZE", help="Shrink to this size, e.g. 5GB; least used goes first.")
def prune(older_than: float | None, max_size: int | None) -> None:
    """Remove old entries and what killed runs left behind."""
    if older_than is None and max_size is None:
        raise click.UsageError("say what may go: --older-than 30d or --max-size 5GB")
    gone = _open().prune(older_than=older_than, max_bytes=max_size)
    output.say(f"removed {_total(gone)}")


def _open() -> Cache:
    from hf_emms.cache import Cache, default_root

    return Cache(default_root(), output.say)


def _total(entries: Sequence[Entry]) -> str:
    return f"{pluralize(len(entries), 'entry', 'entries')}, {format_bytes(sum(entry.bytes for entry in entries))}"
