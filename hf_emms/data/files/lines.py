"""Read CSV rows and JSON lines, of plain or compressed files; a line may have at most 64 MB."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from hf_emms.errors import EmmsError

MAX_LINE = 64 << 20
_FIRST_LINES = 20
_SEPARATORS = ";\t|"
# Texts that mean an empty cell in a column of numbers. In a column of texts only an empty text does.
_MISSING = ["", "NA", "N/A", "n/a", "nan", "NaN", "-nan", "null", "NULL", "None", "<NA>", "#N/A", "#NA"]
UTF_8 = "save the file as UTF-8"
QUOTES = 'quote texts that contain the separator, in every line: "one, two",label'


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a plain or compressed file.

    Raises:
        EmmsError: A line is too long.
    """
    with opened(path) as stream:
        while line := stream.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                raise too_long(path)
            yield line


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each line of a CSV file, the header included. Empty lines are skipped.

    Raises:
        EmmsError: A line or a cell is too long.
    """
    separator, quoting = csv_format(path)
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(_text_lines(path), delimiter=separator, quoting=quoting)  # type: ignore[arg-type]
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise EmmsError(
            "malformed-file", f"line {reader.line_num:,} of {path.name} cannot be read: {error}", QUOTES
        ) from error


def csv_format(path: Path) -> tuple[str, int]:
    """Detect the separator of a CSV file (a comma, a tab, ";" or "|") and the use of quotation marks.

    Raises:
        EmmsError: The file is UTF-16.
    """
    with opened(path) as stream:
        if stream.read(len(codecs.BOM_UTF16)) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise EmmsError("cannot-read", f"{path.name} is UTF-16, not UTF-8", UTF_8)
    lines = [line.rstrip("\r\n") for line in islice(_text_lines(path), _FIRST_LINES)]
    header = lines[0] if lines else ""
    separator = "\t" if ".tsv" in path.suffixes else ","
    if separator not in header:
        other = max(_SEPARATORS, key=header.count)
        separator = other if other in header else separator
    cells = (cell for line in lines for cell in line.split(separator))
    # In a file of tabs, a quotation mark often is a character of a text.
    quoted = separator != "\t" or all(cell.startswith('"') == cell.endswith('"') for cell in cells)
    return separator, csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one JSON object per line.

    Raises:
        EmmsError: A line is too long, or contains something else.
    """
    for number, line in enumerate(lines_of(path), start=1):
        line = line.removeprefix(b"\xef\xbb\xbf").strip()
        if not line:
            continue
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EmmsError(
                "malformed-file",
                f"line {number:,} of {path.name} is not a JSON object: {error}",
                'write lines like {"text": "…"}',
            ) from None


def pandas_arguments(files: Sequence[Path]) -> dict[str, Any]:
    """Return the arguments of ``pandas.read_csv`` for CSV files of one format.

    "NA", "None" and "null" are texts in columns of texts, and empty cells in columns of numbers.

    Raises:
        EmmsError: A file has more cells per line than column names.
    """
    import pandas as pd  # type: ignore[import-untyped]

    for file in files:
        _check_width(file)
    separator, quoting = csv_format(files[0])
    arguments: dict[str, Any] = {"sep": separator, "quoting": quoting}
    try:
        head = pd.read_csv(files[0], nrows=10_000, **arguments)
    except (OSError, ValueError):
        return arguments  # the reader of ``datasets`` reports the problem
    numeric = [str(name) for name in head if pd.api.types.is_numeric_dtype(head[name]) and head[name].notna().any()]
    return arguments | {"keep_default_na": False, "na_values": dict.fromkeys(numeric, _MISSING)}


def _check_width(file: Path) -> None:
    header, *rows = [*islice(csv_rows(file), _FIRST_LINES)] or [[]]
    if header and header[0].startswith("sep="):
        problem = f"line 1 of {file.name} is {','.join(header)!r}, not the column names"
        raise EmmsError("malformed-file", problem, "remove line 1")
    if rows and len(header) == 1 and len(rows[0]) > 1 and len({len(cells) for cells in rows}) == 1:
        problem = f"line 1 of {file.name} has one cell, the other lines have {len(rows[0])}"
        raise EmmsError("malformed-file", problem, "remove line 1 if it is a title, or " + QUOTES)
    for number, cells in enumerate(rows, start=2):
        if len(cells) > len(header):
            # pandas would use the first cells as an index.
            problem = f"row {number} of {file.name} has {len(cells)} cells, but there are {len(header)} column names"
            raise EmmsError("malformed-file", problem, QUOTES)


def too_long(path: Path) -> EmmsError:
    """Return the error for a file with a line that is too long."""
    return EmmsError(
        "line-too-long",
        f"{path.name} has a line of more than {MAX_LINE >> 20} MB",
        "write one row per line, or split the line",
    )


def opened(path: Path) -> Any:
    """Open a plain or compressed file for reading."""
    import fsspec

    return fsspec.open(str(path), "rb", compression="infer")


def _text_lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(lines_of(path)):
        yield line.decode("utf-8" if number else "utf-8-sig", "replace")
