"""Functions that turn text into HTML.

Text from files and URLs must pass `escape`. Links lead to the Hub or to a view of this page.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from hf_emms.ranking import is_commit

HUB = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_SMALLEST_FIRST = (
    *("rank", "checkpoint", "mean_rank_elsewhere", "parameters", "memory", "seconds"),
    *("library", "license", "architecture", "revision"),
)


def escape(value: object) -> str:
    """Escape text for HTML content and quoted attributes; invisible characters become �."""
    text = "".join(char if char.isprintable() else "�" for char in " ".join(str(value).split()))
    return html.escape(text)


def breakable(name: str) -> str:
    """Return a name as HTML that can wrap after its parts."""
    owner, slash, rest = name.partition("/")
    if slash:
        return f'<span class="owner">{escape(owner)}/</span><wbr>{escape(rest)}'
    return re.sub("_(?=.)", "_<wbr>", escape(name))


def hub_address(name: str, revision: str | None, kind: str = "") -> str | None:
    """Return the address of a repository on the Hub; None for folders, demos and other names.

    Args:
        name: "ORG/NAME[@REVISION]".
        revision: The measured revision; a commit if it came from the Hub.
        kind: "" for a model, "datasets/" for a dataset.
    """
    id = name.partition("@")[0]
    if not is_commit(revision) or not _HUB_ID.fullmatch(id):
        return None
    return f"{HUB}/{kind}{quote(id)}"


def is_id(name: str) -> bool:
    """Return whether a name has the form ORG/NAME or ORG/NAME@REVISION, safe for commands."""
    id, _, revision = name.partition("@")
    return bool(_HUB_ID.fullmatch(id)) and re.fullmatch(r"[\w./-]*", revision, re.ASCII) is not None


def hub_link(name: str, revision: str | None, kind: str = "") -> str:
    """Render a name, linked if it is on the Hub."""
    address = hub_address(name, revision, kind)
    shown = f'<span class="name">{breakable(name)}</span>'
    return f'<a href="{address}" target="_blank" rel="noopener">{shown}</a>' if address else shown


def hub_mark(name: str, revision: str | None) -> str:
    """Render a small link to a checkpoint on the Hub; empty if it is not from the Hub."""
    address = hub_address(name, revision)
    if address is None:
        return ""
    return (
        f' <a class="hub" href="{address}" target="_blank" rel="noopener" aria-label="{escape(name)} on the Hub">↗</a>'
    )


def view_link(query: str, content: str, *, label: str = "", css: str = "") -> str:
    """Render a link to another view; `content` is HTML, `query` comes from `selection.to_query`."""
    more = (f' aria-label="{escape(label)}"' if label else "") + (f' class="{css}"' if css else "")
    return f'<a href="?{html.escape(query)}"{more}>{content}</a>'


def header(*titles: str, css: str = "") -> str:
    """Render header cells; titles are HTML."""
    classes = f' class="{css}"' if css else ""
    return "".join(f'<th scope="col"{classes}>{title}</th>' for title in titles)


def row(title: str, cells: Iterable[str], css: str = "text", cell_css: str = "") -> str:
    """Render a row that begins with its title; title and cells are HTML."""
    classes = f' class="{cell_css}"' if cell_css else ""
    body = "".join(f"<td{classes}>{cell}</td>" for cell in cells)
    of_title = f' class="{css}"' if css else ""
    return f'<tr><th scope="row"{of_title}>{title}</th>{body}</tr>'


def boxed_table(name: str, head: str, body: str, css: str = "board", caption: str = "", **data: str) -> str:
    """Render a table with a fixed header; `head` and `body` are HTML, `data` is JSON for scripts."""
    data_html = "".join(f' data-{key}="{html.escape(text)}"' for key, text in data.items() if text)
    return (
        f'<div class="sideways" tabindex="0" role="region" aria-label="{name}"><table class="{css}"{data_html}>'
        f'<caption class="unseen">{caption or name}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def sorting_header(name: str, title: str, css: str, order: str, query: Callable[[str], str], hint: str = "") -> str:
    """Render the header of a sortable column; `order` is the current order, see `lines.sorted_lines`."""
    sorted_by, down = order.removeprefix("-") == name, order.startswith("-")
    state = f' aria-sort="{"descending" if down else "ascending"}"' if sorted_by else ""
    mark = f'<span aria-hidden="true">{"▼" if down else "▲"}</span>' if sorted_by else ""
    link = view_link(query(turned(order, name)), f"{escape(title)}{mark}")
    tip = f' title="{escape(hint)}"' if hint else ""
    data = f'data-column="{escape(name)}" data-first="{escape(turned("", name))}"'
    return f'<th scope="col" class="{css}" {data}{state}{tip}>{link}</th>'


def sort_keys(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return sort keys as JSON: column → position of each row's value among all values, null for None."""
    places = {}
    for name, values in columns.items():
        order = {value: place for place, value in enumerate(sorted({value for value in values if value is not None}))}
        places[name] = [order.get(value) for value in values]
    return json.dumps(places, separators=(",", ":"))


def turned(order: str, column: str) -> str:
    """Return the order after a click on the header of a column."""
    usual = column if column in _SMALLEST_FIRST else f"-{column}"
    if order != usual:
        return usual
    return usual.removeprefix("-") if usual.startswith("-") else f"-{usual}"


def command_box(command: str, title: str) -> str:
    """Render a command with a button that copies it."""
    lines = command.splitlines()
    text = "\n".join(" " * (len(line) - len(line.lstrip())) + escape(line) for line in lines)
    return (
        f'<div class="command"><p class="small">{title}</p>'
        '<button type="button" class="scripted" data-copy>Copy</button>'
        f'<pre tabindex="0"><code>{text}</code></pre></div>'
    )


def seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
