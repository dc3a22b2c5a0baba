"""Links and headers as data, and the templates that draw them.

Templates escape every text. Links lead to the Hub or to a view of this page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hf_emms.formatting import pluralize
from hf_emms.ranking import is_commit

HUB = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_SMALLEST_FIRST = (
    *("rank", "checkpoint", "parameters", "memory", "seconds"),
    *("library", "license", "architecture", "revision"),
)


@dataclass(frozen=True)
class Link:
    """A text that leads to a view of this page (a query) or to another site (an address), or nowhere (neither).

    Attributes:
        text: The text.
        query: From `selection.to_query`.
        address: Of the Hub.
        is_name: Whether it is a name, which can wrap after its parts.
    """

    text: str
    query: str = ""
    address: str | None = None
    is_name: bool = False


# A sentence or a cell: texts and links.
Parts = str | Link | Sequence[str | Link]


class Head(NamedTuple):
    """The header of a column by which a table is sorted.

    Attributes:
        link: Its title, which leads to the order after a click.
        css: Class of the column.
        name: Name in addresses.
        hint: Shown under the pointer.
        order: The current order, if the table is sorted by this column: "ascending" or "descending".
        first: The order after the first click.
    """

    link: Link
    css: str
    name: str
    hint: str = ""
    order: str = ""
    first: str = ""


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


def hub_link(name: str, revision: str | None, kind: str = "") -> Link:
    """Return a name, linked if it is on the Hub."""
    return Link(name, address=hub_address(name, revision, kind), is_name=True)


def head(name: str, title: str, css: str, order: str, query: Callable[[str], str], hint: str = "") -> Head:
    """Return the header of a sortable column; `order` is the current order, see `lines.sorted_lines`."""
    state = "" if order.removeprefix("-") != name else "descending" if order.startswith("-") else "ascending"
    return Head(Link(title, query(turned(order, name))), css, name, hint, state, turned("", name))


def sort_keys(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[int | None]]:
    """Return sort keys: column → position of each row's value among all values, None without a value."""
    places = {}
    for name, values in columns.items():
        order = {value: place for place, value in enumerate(sorted({value for value in values if value is not None}))}
        places[name] = [order.get(value) for value in values]
    return places


def turned(order: str, column: str) -> str:
    """Return the order after a click on the header of a column."""
    usual = column if column in _SMALLEST_FIRST else f"-{column}"
    if order != usual:
        return usual
    return usual.removeprefix("-") if usual.startswith("-") else f"-{usual}"


def seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def visible(value: Any) -> Any:
    """Replace invisible characters of a text by �, and its line breaks by spaces; leave markup as it is."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else "�" for char in " ".join(value.split()))


def draw(template: str, **data: Any) -> Markup:
    """Return the HTML of a template."""
    return Markup(_TEMPLATES.get_template(template).render(data))


def part(name: str, *values: Any) -> Markup:
    """Return the HTML of a macro of parts.html."""
    macro: Callable[..., Markup] = getattr(_TEMPLATES.get_template("parts.html").module, name)
    return macro(*values)


def _lines(text: str) -> Markup:
    """Escape a text, and keep its lines."""
    return Markup("\n").join(visible(line) for line in text.splitlines())


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    finalize=visible,
)
_TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
_TEMPLATES.filters |= {"lines": _lines, "pluralize": pluralize, "comma": "{:,}".format}
