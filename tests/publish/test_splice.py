"""Sections and metadata fields in READMEs; all other bytes stay."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hf_emms.errors import EmmsError
from hf_emms.publish.readme import END, START, put_section, section_span, section_text, with_fields

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
METADATA = re.compile(r"\A\ufeff?(---[ \t]*\r?\n.*?^---[ \t\r]*$)?", re.MULTILINE | re.DOTALL)


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


@given(readmes)
@example(b"# Title\n\n```\ncode\n")
@example(b"text\n\n<!-- of the owner\n\nmore")
@example(b"---\nnote: |\n  ```\n---\n# Title\n")
@example(b"<div>\n</div>")
def test_new_section_is_outside_unclosed_blocks(readme: bytes) -> None:
    section = f"{START}\n\n## Ours\n\n<details>\n\n</details>\n\n{END}\n"
    done = put_section(readme, section)
    blocks = MarkdownIt("commonmark").parse(METADATA.sub("", done.decode(), count=1))
    ours = next(place for place, block in enumerate(blocks) if block.content == "Ours")
    assert blocks[ours - 1].type == "heading_open"
    assert blocks[ours - 1].level == 0


@pytest.mark.parametrize(
    "opened", ["```\ncode\n", "~~~ python\n```\n", "<!-- note to myself\n\ntext\n", "<pre>\n\na\n"]
)
def test_unclosed_block_stays_after_the_section(opened: str) -> None:
    before = "---\nlicense: mit\n---\n# Title\n\n```\nclosed\n```\n\n"
    assert put_section(f"{before}{opened}".encode(), SECTION) == f"{before}{SECTION}{opened}".encode()


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
    "an end is missing": (f"a\n{START}\nb\n", "start in line 2"),
    "a start is missing": (f"a\n\n{END}\n", "end in line 3"),
    "the wrong way round": (f"{END}\n{START}\n", "end in line 1, start in line 2"),
    "two sections": (f"{START}\n{END}\n{START}\n{END}\n", "start in line 3, end in line 4"),
    "a start twice": (f"{START}\n{START}\n{END}\n", "start in line 2"),
    "text beside a marker": (f"a\nb {START}\n{END}\n", "line 2"),
    "a marker cut short": (f"<!-- hf-emms:start\n{END}\n", "line 1"),
    "a marker with more in it": (f"<!-- hf-emms:start beans -->\n{END}\n", "line 1"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_markers_are_reported_with_lines(broken: str) -> None:
    readme, place = BROKEN[broken]
    with pytest.raises(EmmsError, match=place) as refused:
        put_section(readme.encode(), SECTION)
    assert refused.value.hint


def test_invalid_utf8_is_reported_with_its_line() -> None:
    with pytest.raises(EmmsError, match="0xe9 in line 2"):
        put_section("# Title\ncafé\n".encode("latin-1"), SECTION)


CARD = """---
# who made it
language: no
models:
- a/b
-  c/d   # kept in order
tags: [x, y]
title: "A: B"  # quoted
---

# Text
models: not a field
"""


def test_with_fields_changes_only_these_fields() -> None:
    changed = with_fields(CARD.encode(), {"models": ["e/f"], "tags": None, "datasets": ["g/h"]}).decode()
    assert changed == CARD.replace("- a/b\n-  c/d   # kept in order\n", "- e/f\n").replace(
        "tags: [x, y]\n", ""
    ).replace("# quoted\n", "# quoted\ndatasets:\n- g/h\n")


def test_line_breaks_and_byte_order_mark_stay() -> None:
    for text, ending in ((b"a\r\nb\n", b"\r\n"), (b"a\r\nb\nc\n", b"\n")):  # of half of the lines, and of fewer
        assert put_section(text, SECTION) == text + SECTION.encode().replace(b"\n", ending)
    card = ("\ufeff" + CARD).replace("\n", "\r\n").encode()
    assert with_fields(card, {}) == card
    assert with_fields(card, {"models": ["e/f"]}) == card.replace(b"- a/b\r\n-  c/d   # kept in order", b"- e/f")


def test_readme_without_metadata_gets_it() -> None:
    for end in ("\n", "\r\n"):
        card = f"---{end}tags:{end}- a{end}---{end}# Text{end}"
        assert with_fields(f"# Text{end}".encode(), {"tags": ["a"]}) == card.encode()


def test_yaml_values_stay_text() -> None:
    names = ["no", "1e3", "a: b", "- x", "ø"]
    block = with_fields(CARD.encode(), {"models": names}).decode().split("---")[1]
    assert "\n- ø\n" in block
    assert yaml.safe_load(block)["models"] == names
