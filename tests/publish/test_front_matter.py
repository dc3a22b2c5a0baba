"""Fields of a README's front matter, changed without a round trip through YAML."""

import yaml

from hf_emms.publish.readme import with_fields

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


def test_only_the_named_fields_change():
    changed = with_fields(CARD.encode(), {"models": ["e/f"], "tags": None, "datasets": ["g/h"]}).decode()
    assert changed == CARD.replace("- a/b\n-  c/d   # kept in order\n", "- e/f\n").replace(
        "tags: [x, y]\n", ""
    ).replace("# quoted\n", "# quoted\ndatasets:\n- g/h\n")


def test_line_breaks_and_the_byte_order_mark_stay():
    card = ("\ufeff" + CARD).replace("\n", "\r\n").encode()
    assert with_fields(card, {}) == card
    assert with_fields(card, {"models": ["e/f"]}) == card.replace(b"- a/b\r\n-  c/d   # kept in order", b"- e/f")


def test_a_readme_without_front_matter_gets_one():
    assert with_fields(b"# Text\n", {"tags": ["a"]}) == b"---\ntags:\n- a\n---\n# Text\n"


def test_names_that_yaml_would_read_as_something_else_stay_text():
    names = ["no", "1e3", "a: b", "- x", "ø"]
    block = with_fields(CARD.encode(), {"models": names}).decode().split("---")[1]
    assert "\n- ø\n" in block
    assert yaml.safe_load(block)["models"] == names
