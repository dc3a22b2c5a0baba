"""Text from the Hub, as it may stand in a README: it can format nothing, link nowhere and call nobody."""

from __future__ import annotations

import html as _html
import re
from typing import Any

from hf_emms.ranking_views import one_line

# A word joiner: invisible, and what keeps "@name" from being a mention and "www." from being a link.
_JOINER = "&#8288;"
_PUNCTUATION = re.compile(r"([\\|`*_<>\[\]~$#!&])")
_CALLS = (("@", f"@{_JOINER}"), ("://", f":{_JOINER}//"), ("www.", f"www{_JOINER}."))
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


def text(value: Any) -> str:
    """For a line of Markdown or a cell of a table."""
    escaped = _PUNCTUATION.sub(r"\\\1", one_line(value))
    return _without_calls(escaped)


def html(value: Any) -> str:
    """For the inside of an HTML element."""
    return _without_calls(_html.escape(one_line(value)))


def code(value: Any) -> str:
    """A code span that ends where it should, whatever backticks the text has; safe in a table."""
    line = _no_comment(one_line(value)).replace("|", "\N{BROKEN BAR}")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def block(value: str, language: str = "") -> str:
    """A fenced code block that nothing in the text can end."""
    lines = "\n".join(_no_comment(line) for line in value.splitlines())
    longest = max((len(run) for run in re.findall("`+", lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def repo(id: str, kind: str, *, on_hub: bool) -> str:
    """A repository's name, as a link to its page where it is one of the Hub."""
    name = id.partition("@")[0]
    if not on_hub or not _HUB_ID.fullmatch(name):
        return code(id)
    return f"[{text(name)}](https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name})"


def space(id: str) -> str:
    """A Space as a link."""
    return f"[{text(id)}](https://huggingface.co/spaces/{id})" if _HUB_ID.fullmatch(id) else code(id)


def _without_calls(line: str) -> str:
    for call, harmless in _CALLS:
        line = line.replace(call, harmless)
    return line


def _no_comment(line: str) -> str:
    return line.replace("<!--", "<! --")
