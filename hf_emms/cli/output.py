"""Output of commands: data on stdout, everything else on stderr, without access tokens."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cache.files import check_writable, write_atomic
from hf_emms.errors import EmmsError
from hf_emms.texts import printable, redacted

if TYPE_CHECKING:
    from hf_emms.ranking import Ranking

Decorator = Callable[[Any], Any]

FORMATS = ("table", "json", "csv", "md")
LIST_FORMATS = ("table", "json", "csv")


class Output:
    """The output of a command, in the format that its flags set."""

    def __init__(self) -> None:
        self.reset(debug=False)

    def reset(self, *, debug: bool) -> None:
        """Set the defaults of a command, before its flags are parsed."""
        self.format, self.debug = "table", debug
        self.problem: EmmsError | None = None

    def data(self, text: str, *, styled: bool = False) -> None:
        """Write to stdout. On a terminal, escape control characters unless the text is `styled`.

        If stdout cannot be written, store the reason in `problem`. A closed pipe is not a problem.
        """
        text = redacted(text if styled or not sys.stdout.isatty() else printable(text))
        try:
            click.echo(text, nl=not text.endswith("\n"))
        except OSError as error:
            # Otherwise Python fails again when it flushes the stream at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                self.problem = EmmsError(
                    "cannot-write",
                    f"the results cannot be printed: {error.strerror}",
                    "--output FILE, or another stdout",
                )

    def json(self, value: Any) -> None:
        self.data(json.dumps(value, indent=2))

    def message(self, text: str = "") -> None:
        """Write to stderr."""
        click.echo(printable(redacted(text)), err=True)

    def records(self, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a list that is not a ranking, with all columns aligned to the left."""
        from hf_emms.ranking.columns import single_line
        from hf_emms.ranking.text import csv_text

        texts = [[single_line(value) for value in row] for row in rows]
        if self.format == "json":
            self.json([dict(zip(header, row, strict=True)) for row in rows])
        elif self.format == "table":
            self.data(table(header, texts, left=header, dispensable=[*reversed(header[1:])]), styled=True)
        else:
            self.data(csv_text([header, *rows]))

    def ranking(self, ranking: Ranking) -> None:
        """Print a ranking; on a terminal, the table has colors and fits the width."""
        if self.format == "table" and sys.stdout.isatty():
            self.data(_terminal_table(ranking), styled=True)
        else:
            self.data(rendered(ranking, self.format))


out = Output()


def results_folder_option(text: str, default: str = "emms-results") -> Decorator:
    """Return the flag --output for a folder with rankings."""
    return cloup.option(
        "--output",
        "-o",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(default),
        show_default=True,
        metavar="DIR",
        help=text,
    )


def ranking_files_option(text: str, *, required: bool = True) -> Decorator:
    """Return the flag --ranking for several files."""
    return cloup.option(
        "--ranking",
        "files",
        required=required,
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=text,
    )


def ranking_output_option(text: str) -> Decorator:
    """Return the flag --output for a ranking file."""
    return cloup.option("--output", "-o", "target", type=click.Path(path_type=Path), metavar="FILE", help=text)


def format_option(formats: Sequence[str] = LIST_FORMATS, piped: str = "table") -> Decorator:
    """Return the flag --format. The default is a table, or `piped` if stdout is not a terminal."""

    def set_format(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        out.format = value or ("table" if sys.stdout.isatty() else piped)

    help = "[default: table]" if piped == "table" else f"[default: table; {piped} in a pipe]"
    return cloup.option("--format", type=click.Choice(formats), callback=set_format, expose_value=False, help=help)


@contextlib.contextmanager
def stdout_for_data_only() -> Iterator[None]:
    """Redirect output of libraries inside the block to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def rendered(ranking: Ranking, format: str) -> str:
    """Return a ranking in one of `FORMATS`, without access tokens; the table is plain text."""
    from hf_emms.ranking.files import WRITERS

    return redacted(WRITERS["txt" if format == "table" else format](ranking))


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Sequence[str],
    dispensable: Sequence[str],
    styles: Sequence[str] = (),
) -> str:
    """Return a table as text.

    On a narrow terminal, omits `dispensable` columns in their order, then shortens the names in the columns of `left`.
    Other columns are aligned to the right. `styles` are styles of rich, one per row.
    """
    if not sys.stdout.isatty():
        from hf_emms.ranking.text import aligned

        return "\n".join(aligned(header, rows, left=left))
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def made(titles: Sequence[str]) -> Table:
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for title in titles:
            # rich shortens columns that may wrap. The cells themselves do not wrap.
            grid.add_column(title, justify="left" if title in left else "right", no_wrap=title not in left)
        for row, style in itertools.zip_longest(rows, styles):
            cells = (printable(cell) for title, cell in zip(header, row, strict=True) if title in titles)
            grid.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells), style=style)
        return grid

    console, titles = Console(file=io.StringIO(), force_terminal=True), list(header)
    unlimited = console.options.update(max_width=sys.maxsize)
    for title in dispensable:
        if title in titles and console.measure(made(titles), options=unlimited).maximum > console.width:
            titles.remove(title)
    with console.capture() as captured:
        console.print(made(titles))
    return captured.get().rstrip("\n")


def write_ranking(ranking: Ranking, path: Path) -> None:
    """Write a ranking in the format of the suffix: .json, .csv, .md or .txt."""
    suffix = output_format(path)
    try:
        write_atomic(path, rendered(ranking, suffix))
    except OSError as error:
        raise EmmsError("cannot-write", f"cannot write {path}: {error.strerror or error}", "--output FILE") from error


def check_output(path: Path, inputs: Iterable[str]) -> None:
    """Raise an EmmsError before the work if --output cannot be written, or would overwrite an input.

    Inputs are the files and folders that the command reads. Names of Hub repositories are skipped.
    """
    output_format(path)
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise EmmsError("cannot-write", f"--output {path} is a folder", f"--output {path / 'ranking.json'}")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "it is write-protected")
        check_writable(target.parent)
        for name in inputs:
            source = Path(os.path.realpath(name))
            if source.exists() and (source in target.parents or (target.exists() and target.samefile(source))):
                raise EmmsError(
                    "would-overwrite", f"--output {path} would overwrite the input {name}", "--output FILE elsewhere"
                )
    except OSError as error:
        hint = "--output FILE in a folder that can be written"
        raise EmmsError(
            "cannot-write", f"--output {path} cannot be written: {error.strerror or error}", hint
        ) from error


def cached_file(ranking: Ranking) -> Path:
    """Return the file of a ranking in the cache, which depends on its settings."""
    from hf_emms.cache import cache_key, default_root, digest_of
    from hf_emms.ranking.merge import path_of

    checkpoints = sorted(row.checkpoint for row in ranking.rows)
    key = cache_key("rankings", ranking.dataset_id, path=path_of(ranking), checkpoints=checkpoints)
    name = re.sub(r"[^\w.-]+", "-", Path(ranking.dataset).name) or "dataset"
    return default_root() / "rankings" / f"{name}-{digest_of(key)[:12]}.json"


def output_format(path: Path) -> str:
    """Return the format of a file's suffix, or raise an EmmsError."""
    suffix = path.suffix.removeprefix(".").lower()
    formats = {name: name for name in FORMATS[1:]} | {"txt": "table"}
    if suffix not in formats:
        raise EmmsError(
            "unknown-suffix",
            f"--output {path}: {path.suffix!r} is not a supported suffix",
            "use " + ", ".join(f".{name}" for name in formats),
        )
    return formats[suffix]


def _terminal_table(ranking: Ranking) -> str:
    from hf_emms.ranking import text as views

    (header, rows), *others = views.tables(ranking)
    styles = [
        "red" if row.error is not None else "bold" if row is ranking.rows[0] else "" for row in ranking.shown_rows
    ]
    lines = [table(header, rows, left=("checkpoint",), dispensable=views.dispensable_titles(ranking), styles=styles)]
    lines += [click.style(printable(f"failed: {name}: {error}"), fg="red") for name, error in views.failures(ranking)]
    lines += ["\n" + table(*other, left=("checkpoint",), dispensable=("a million", "width")) for other in others]
    return "\n".join([*lines, *map(printable, views.remarks(ranking))])
