"""Replace a section or metadata fields of a README, and keep every other byte. Markers enclose the section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hf_emms.errors import EmmsError

START = "<!-- hf-emms:start -->"
END = "<!-- hf-emms:end -->"

# Line breaks of CommonMark, and the metadata that the Hub removes before it parses Markdown.
_BREAK = re.compile(r"\r\n?|\n")
_METADATA = re.compile(r"\ufeff?(---[ \t]*(?:\r\n?|\n).*?^---[ \t\r]*$)?", re.MULTILINE | re.DOTALL)
_BOM = b"\xef\xbb\xbf"
_MARKER = re.compile(rb"<!--[ \t]*hf-emms:(start|end)")
_FRONT_MATTER = re.compile(r"(\ufeff?---[ \t]*\r?\n)(.*?)(^---[ \t]*\r?$)", re.MULTILINE | re.DOTALL)


def section_span(readme: bytes) -> tuple[int, int] | None:
    """Return the offsets of the first byte of the section and of the byte after it, or None.

    Raises:
        EmmsError: A marker is damaged, missing or duplicated.
    """
    markers: list[tuple[bytes, int, int, int]] = []
    for match in _MARKER.finditer(readme):
        begin, kind = match.start(), match[1]
        marker = (START if kind == b"start" else END).encode()
        line = readme[:begin].rpartition(b"\n")[2] + readme[begin:].partition(b"\n")[0]
        number = _line_number(readme, begin)
        if line.removeprefix(_BOM).strip() != marker:
            raise EmmsError(
                f"line {number} of the README contains a damaged hf_emms marker, or a marker next to other text",
                f"put {marker.decode()} on a separate line, or remove the section",
            )
        markers.append((kind, number, begin, begin + len(marker)))
    if not markers:
        return None
    if [kind for kind, *_ in markers] != [b"start", b"end"]:
        places = ", ".join(f"{kind.decode()} in line {number}" for kind, number, *_ in markers)
        raise EmmsError(
            f"the hf_emms markers in the README are not one start followed by one end: {places}",
            "remove the extra markers, or the section; then run the command again",
        )
    return markers[0][2], markers[1][3]


def _line_number(readme: bytes, place: int) -> int:
    return len(readme[:place].split(b"\n"))


def put_section(readme: bytes, section: str) -> bytes:
    """Replace the section of a README, or append it.

    If a code fence or an HTML comment at the end is not closed, inserts the section before it. Uses the line breaks
    of the README. Removing the section restores the README.

    Raises:
        EmmsError: The markers are broken, or the README is not UTF-8.
    """
    try:
        readme.decode()
    except UnicodeDecodeError as error:
        line = _line_number(readme, error.start)
        raise EmmsError(f"the README is not UTF-8: byte 0x{readme[error.start]:02x} in line {line}") from error
    crlf = readme.count(b"\r\n")
    ending = b"\r\n" if crlf and 2 * crlf >= readme.count(b"\n") else b"\n"
    lines = section.strip("\n").encode().replace(b"\n", ending)
    span = section_span(readme)
    if span is not None:
        return readme[: span[0]] + lines + readme[span[1] :]
    place = _open_block(readme)
    before = readme[:place]
    gap = b"" if before.endswith(b"\n") or not before.removeprefix(_BOM) else ending
    return before + gap + lines + ending + readme[place:]


def _open_block(readme: bytes) -> int:
    """Return the offset of an unclosed block, or of the end."""
    from markdown_it import MarkdownIt

    text = readme.decode()
    metadata = _METADATA.match(text)
    start = metadata.end() if metadata else 0
    probe = f"\n\n{START}\n"
    last = [token for token in MarkdownIt("commonmark").parse(text[start:] + probe) if not token.level and token.map][
        -1
    ]
    if last.map is None or (last.type == "html_block" and last.content.strip() == START):
        return len(readme)
    lines = [0, *(line_break.end() for line_break in _BREAK.finditer(text, start))]
    lines[0] = start
    return len(text[: lines[last.map[0]]].encode())


def section_text(readme: bytes) -> str:
    """Return the text between the markers, with Unix line breaks; empty without a section."""
    span = section_span(readme)
    text = "" if span is None else readme[span[0] : span[1]].decode().replace("\r\n", "\n")
    return text.removeprefix(START).removesuffix(END)


def with_fields(readme: bytes, fields: Mapping[str, Any]) -> bytes:
    """Set top-level fields of the metadata; None removes a field. Everything else stays, comments included."""
    import yaml

    text = readme.decode("utf-8")
    match = _FRONT_MATTER.match(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    start, block, end = match.groups() if match else (f"---{newline}", "", f"---{newline}")
    for name, value in fields.items():
        # The value of a field continues in indented lines and list items.
        field = re.compile(rf"^{re.escape(name)}:[^\n]*\n(?:[ \t-][^\n]*\n)*", re.MULTILINE)
        written = ""
        if value is not None:
            written = yaml.safe_dump({name: value}, allow_unicode=True, width=float("inf")).replace("\n", newline)
        if field.search(block):
            block = field.sub(lambda _, written=written: written, block)
        else:
            block += written
    return (start + block + end + text[match.end() if match else 0 :]).encode()
