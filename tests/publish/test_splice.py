"""Sections in READMEs; all other bytes stay."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hf_emms.errors import EmmsError
from hf_emms.publish.readme import END, START, put_section, section_span, section_text
from tests.helpers.errors import raises_code

BOM = b"\xef\xbb\xbf"
SECTION = f"{START}\nfirst text\n\n| a |\n{END}\n"
OTHER = f"{START}\nanother\ntext\n{END}\n"

PIECES = [
    "---\nlanguage: no # a comment\n---\n",
    "# Title\n",
    "text without an end",
    "\n",
    "\r\n",
    "\r",
    "```\ncode\n",
    "\n~~~~ text\n```\n",
    "- item\n\n  ```\n",
    "<!-- a comment -->",
    "\n<!-- an open one\n",
    "-->\n",
    "\n<pre>\n",
    "</pre>",
    "<div>\n",
    "<details>",
    "<!-- hf-emms",
    "hf-emms:start",
    "\N{SNOWMAN}\u2028\x85\x0c",
    "  \n",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=12).map("".join)


def has_no_section(readme: bytes) -> bool:
    try:
        return section_span(readme) is None
    except EmmsError:
        return False


readmes = st.builds(
    lambda text, crlf, bom: (BOM if bom else b"") + (text.replace("\n", "\r\n") if crlf else text).encode(),
    texts,
    st.booleans(),
    st.booleans(),
).filter(has_no_section)


def unix(section: bytes) -> str:
    return section.decode().replace("\r\n", "\n")


@given(readmes)
@example(b"")
@example(BOM)
@example(b"---\r\nlanguage: no\r\n---\r\n# Title")
@example(b"# Title\n\n```\ncode\n")
@example(b"text\n\n<!-- of the owner\n\nmore")
def test_removing_the_section_restores_the_readme(readme: bytes) -> None:
    done = put_section(readme, SECTION)
    begin, end = section_span(done) or (0, 0)
    assert unix(done[begin:end]) == SECTION.strip("\n")
    ending = b"\r\n" if done[end:].startswith(b"\r\n") else b"\n"
    after = done[end:].removeprefix(ending)
    assert readme in (done[:begin] + after, done[:begin].removesuffix(ending) + after)
    assert put_section(done, SECTION) == done


@pytest.mark.parametrize(("before", "ending"), [("", "\n"), ("a\r\nb\n", "\r\n"), ("a\r\nb\nc\n", "\n")])
def test_section_uses_the_line_breaks_of_the_readme(before: str, ending: str) -> None:
    assert put_section(before.encode(), SECTION) == (before + SECTION.replace("\n", ending)).encode()


@given(readmes, readmes, st.sampled_from([b"\n", b"\r\n"]))
def test_section_is_replaced_in_place(before: bytes, after: bytes, ending: bytes) -> None:
    readme = before + ending + OTHER.encode() + after
    begin, end = section_span(readme) or (0, 0)
    done = put_section(readme, SECTION)
    new_begin, new_end = section_span(done) or (0, 0)
    assert done[:new_begin] == readme[:begin] == before + ending
    assert done[new_end:] == readme[end:]
    assert unix(done[new_begin:new_end]) == SECTION.strip("\n")
    assert section_text(done) == "\nfirst text\n\n| a |\n"


BROKEN = {
    "an end is missing": (f"a\n{START}\nb\n", "2"),
    "a start is missing": (f"a\n\n{END}\n", "3"),
    "the wrong way round": (f"{END}\n{START}\n", "1, 2"),
    "two sections": (f"{START}\n{END}\n{START}\n{END}\n", "1, 2, 3, 4"),
    "text beside a marker": (f"a\nb {START}\n{END}\n", "2, 3"),
    "a marker cut short": (f"<!-- hf-emms:start\n{END}\n", "1, 2"),
    "a marker with more in it": (f"<!-- hf-emms:start beans -->\n{END}\n", "1, 2"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_markers_are_reported_with_lines(broken: str) -> None:
    readme, lines = BROKEN[broken]
    with raises_code("broken-markers", f"line {lines}\n") as refused:
        put_section(readme.encode(), SECTION)
    assert refused.value.hint


def test_invalid_utf8_is_reported_with_its_line() -> None:
    with raises_code("not-utf8", "0xe9", "line 2"):
        put_section("# Title\ncafé\n".encode("latin-1"), SECTION)
