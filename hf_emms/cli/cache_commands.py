"""hf-emms cache ls|rm|prune."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click
import cloup

from hf_emms.cli.output import format_option, out, quiet_option
from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes, format_duration, parse_bytes, parse_duration, pluralize

if TYPE_CHECKING:
    from hf_emms.cache import Cache, CacheEntry


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


@cloup.group()
def cache() -> None:
    """Show and shrink the cache (HF_EMMS_CACHE)."""


@cache.command("ls")
@format_option()
@quiet_option("Print the digests only.")
def list_entries() -> None:
    """List features, label tables and finished rows, last used first."""
    entries = _open().entries()
    if out.quiet:
        out.data("\n".join(entry.digest for entry in entries))
        return
    table = out.format == "table"
    rows = [
        (
            entry.kind,
            entry.key.get("id", "damaged"),
            entry.key.get("revision", "")[: 14 if table else None],
            format_bytes(entry.bytes) if table else entry.bytes,
            f"{format_duration(time.time() - entry.used)} ago" if table else round(entry.used),
            entry.digest[: 12 if table else None],
        )
        for entry in entries
    ]
    out.records(("kind", "id", "revision", "size", "used", "digest"), rows)
    out.message(f"{_total(entries)} in {_open().root}")


@cache.command("rm")
@cloup.argument("prefixes", nargs=-1, metavar="ID|DIGEST...")
@cloup.option("--all", "everything", is_flag=True, help="Remove every entry; saved rankings stay.")
def remove(prefixes: tuple[str, ...], everything: bool) -> None:
    """Remove what belongs to a checkpoint or encoder, or single entries by the beginning of their digest."""
    if everything == bool(prefixes):
        raise click.UsageError("name checkpoints or digests, or pass --all")
    opened = _open()
    gone = opened.clear() if everything else [entry for prefix in prefixes for entry in opened.remove(prefix)]
    out.message(f"removed {_total(gone)}")


@cache.command()
@cloup.option("--older-than", type=_DURATION, metavar="TIME", help="Remove what was not used for this long, e.g. 30d.")
@cloup.option("--max-size", type=_SIZE, metavar="SIZE", help="Shrink to this size, e.g. 5GB; least used goes first.")
def prune(older_than: float | None, max_size: int | None) -> None:
    """Remove old entries and temporary files of runs that were killed."""
    if older_than is None and max_size is None:
        raise click.UsageError("pass --older-than 30d or --max-size 5GB")
    gone = _open().prune(older_than=older_than, max_bytes=max_size)
    out.message(f"removed {_total(gone)}")


def _open() -> Cache:
    from hf_emms.cache import Cache, default_root

    return Cache(default_root(), out.message)


def _total(entries: Sequence[CacheEntry]) -> str:
    return f"{pluralize(len(entries), 'entry', 'entries')}, {format_bytes(sum(entry.bytes for entry in entries))}"
