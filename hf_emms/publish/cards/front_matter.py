"""Single fields in the front matter of a README, every other byte left as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BLOCK = re.compile(r"(\ufeff?---[ \t]*\r?\n)(.*?)(^---[ \t]*\r?$)", re.MULTILINE | re.DOTALL)


def with_fields(readme: bytes, fields: Mapping[str, Any]) -> bytes:
    """The README with some top-level fields of its front matter set; a value of None removes the field.

    Comments, the order and the spelling of all other fields stay, as do line breaks.

    Args:
        readme: UTF-8, with or without front matter.
        fields: name → what YAML writes: text, numbers, lists.
    """
    import yaml

    text = readme.decode("utf-8")
    found = _BLOCK.match(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    start, block, end = found.groups() if found else (f"---{newline}", "", f"---{newline}")
    for name, value in fields.items():
        # A field's value goes on in the lines that are indented, or that are items of its list.
        field = re.compile(rf"^{re.escape(name)}:[^\n]*\n(?:[ \t-][^\n]*\n)*", re.MULTILINE)
        written = ""
        if value is not None:
            written = yaml.safe_dump({name: value}, allow_unicode=True, width=10**6).replace("\n", newline)
        if field.search(block):
            block = field.sub(lambda _, written=written: written, block, count=1)
        else:
            block += written
    return (start + block + end + text[found.end() if found else 0 :]).encode()
