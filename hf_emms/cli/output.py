"""What goes where: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from hf_emms.atomic_files import write_atomic
from hf_emms.errors import EmmsError

FORMATS = ("table", "json", "csv", "tsv", "md")
# Columns that a narrow terminal does without, the first one first.
_DISPENSABLE = ("seconds", "width", "params")
LIST_FORMATS = ("table", "json", "tsv")


def emit(text: str) -> None:
    """Writes data to stdout. A reader that has gone away (``| head``) ends the program quietly."""
    try:
        click.echo(text, nl=not text.endswith("\n"))
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit, and would complain about the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def say(text: str = "", *, quiet: bool = False) -> None:
    """Writes what is not data to stderr."""
    if not quiet:
        click.echo(text, err=True)


@contextlib.contextmanager
def stdout_for_data_only() -> Iterator[None]:
    """Sends what libraries print meanwhile to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def default_format() -> str:
    """A table for people, tab-separated values for programs."""
    return "table" if sys.stdout.isatty() else "tsv"


def rendered(ranking: Any, format: str) -> str:
    """A ranking in one of `FORMATS`; the table is plain text."""
    from hf_emms import views

    render: dict[str, Callable[[Any], str]] = {
        "table": views.to_text,
        "json": lambda ranking: ranking.to_json(),
        "csv": views.to_csv,
        "tsv": views.to_tsv,
        "md": views.to_markdown,
    }
    return render[format](ranking)


def print_records(header: Sequence[str], rows: Sequence[Sequence[Any]], format: str) -> None:
    """Prints a list that is not a ranking as a table (all columns to the left), json or tsv."""
    from hf_emms.views import aligned, one_line

    texts = [[one_line(value) for value in row] for row in rows]
    if format == "json":
        emit(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=2))
    elif format == "table":
        emit("\n".join(aligned(header, texts, left=header)))
    else:
        emit("\n".join("\t".join(line) for line in [header, *texts]))


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str], dispensable: Sequence[str]
) -> list[str]:
    """Lines of a table; a narrow terminal gets fewer columns instead of broken lines, a file gets all of them."""
    from hf_emms.views import aligned

    cells = [[*header], *map(list, rows)]
    lines = aligned(cells[0], cells[1:], left=left)
    for title in dispensable:
        if sys.stdout.isatty() and title in cells[0] and max(map(len, lines)) > shutil.get_terminal_size().columns:
            column = cells[0].index(title)
            cells = [line[:column] + line[column + 1 :] for line in cells]
            lines = aligned(cells[0], cells[1:], left=left)
    return lines


def print_ranking(ranking: Any, format: str) -> None:
    """Prints a ranking to stdout; a table on a terminal gets colours and fits its width."""
    if format == "table" and sys.stdout.isatty():
        _print_table(ranking)
    else:
        emit(rendered(ranking, format))


def write_ranking(ranking: Any, path: Path, *, required: bool = True) -> bool:
    """Writes a ranking to a file in the format of its suffix: .json, .parquet, .csv, .tsv, .md or .txt.

    Returns:
        Whether it was written; False only where it was not `required`.

    Raises:
        EmmsError: another suffix, or a required file cannot be written.
    """
    suffix = output_format(path)
    try:
        if suffix == "parquet":
            ranking.to_parquet(path)
        else:
            write_atomic(path, rendered(ranking, suffix))
    except OSError as error:
        if required:
            raise EmmsError(f"cannot write {path}: {error.strerror or error}", "--output FILE") from error
        return False
    return True


def kept_file(ranking: Any) -> Path:
    """Where a ranking is kept when no --output names a file: the same settings, the same file."""
    from hf_emms.cache import default_root, digest_of
    from hf_emms.merging import path_of

    settings = {"path": path_of(ranking), "race": ranking.settings.get("race")}
    settings["checkpoints"] = sorted(row.checkpoint for row in ranking.rows)
    name = re.sub(r"[^\w.-]+", "-", Path(ranking.dataset).name) or "dataset"
    return default_root() / "rankings" / f"{name}-{digest_of(settings)[:12]}.json"


def output_format(path: Path) -> str:
    """The format that a file's suffix asks for.

    Raises:
        EmmsError: none of ours.
    """
    suffix = path.suffix.removeprefix(".").lower()
    formats = {name: name for name in (*FORMATS[1:], "parquet")} | {"txt": "table"}
    if suffix not in formats:
        raise EmmsError(
            f"--output {path}: the suffix {path.suffix!r} says no format that hf-emms writes",
            "use one of: " + ", ".join(f".{name}" for name in formats),
        )
    return formats[suffix]


def _print_table(ranking: Any) -> None:
    """The table with colours; a narrow terminal gets fewer columns instead of broken lines."""
    from hf_emms import views

    lines = fitted(*views.cells(ranking), left=("checkpoint",), dispensable=_DISPENSABLE)
    emit(_styled(lines[0], bold=True))
    emit(_styled(lines[1], dim=True))
    for place, (line, row) in enumerate(zip(lines[2:], ranking.rows, strict=True)):
        emit(_styled(line, fg="red") if row.error is not None else line if place else _styled(line, bold=True))
    for name, error in views.failures(ranking):
        emit(_styled(f"failed: {name}: {error}", fg="red"))


def _styled(text: str, **style: Any) -> str:
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)
