"""Replace a section of a README, and keep every other byte. Markers enclose the section."""

from __future__ import annotations

import re

from hf_emms.errors import EmmsError

START = "<!-- hf-emms:start -->"
END = "<!-- hf-emms:end -->"

_BOM = b"\xef\xbb\xbf"
_MARKER_LINE = re.compile(rb"^.*<!--[ \t]*hf-emms:(?:start|end).*$", re.MULTILINE)


def section_span(readme: bytes) -> tuple[int, int] | None:
    """Return the offsets of the first byte of the section and of the byte after it, or None.

    Raises:
        EmmsError: A marker is damaged, missing, duplicated or next to other text.
    """
    lines = list(_MARKER_LINE.finditer(readme))
    if not lines:
        return None
    if [line[0].removeprefix(_BOM).strip().decode(errors="replace") for line in lines] != [START, END]:
        places = ", ".join(str(_line_number(readme, line.start())) for line in lines)
        raise EmmsError(
            "broken-markers",
            f"the README must contain {START} and {END} once, each on its own line; markers are in line {places}",
            "correct the markers, or remove the section; then run the command again",
        )
    start, end = lines
    return start.start() + start[0].index(b"<"), end.end() - len(end[0]) + end[0].index(b">") + 1


def _line_number(readme: bytes, place: int) -> int:
    return readme.count(b"\n", 0, place) + 1


def put_section(readme: bytes, section: str) -> bytes:
    """Replace the section of a README, or append it. Uses the line breaks of the README.

    Raises:
        EmmsError: The markers are broken, or the README is not UTF-8.
    """
    try:
        readme.decode()
    except UnicodeDecodeError as error:
        line = _line_number(readme, error.start)
        raise EmmsError(
            "not-utf8", f"the README is not UTF-8: byte 0x{readme[error.start]:02x} in line {line}"
        ) from error
    crlf = readme.count(b"\r\n")
    ending = b"\r\n" if crlf and 2 * crlf >= readme.count(b"\n") else b"\n"
    lines = section.strip("\n").encode().replace(b"\n", ending)
    span = section_span(readme)
    if span is not None:
        return readme[: span[0]] + lines + readme[span[1] :]
    gap = b"" if readme.endswith(b"\n") or not readme.removeprefix(_BOM) else ending
    return readme + gap + lines + ending


def section_text(readme: bytes) -> str:
    """Return the text between the markers, with Unix line breaks; empty without a section."""
    span = section_span(readme)
    text = "" if span is None else readme[span[0] : span[1]].decode().replace("\r\n", "\n")
    return text.removeprefix(START).removesuffix(END)
