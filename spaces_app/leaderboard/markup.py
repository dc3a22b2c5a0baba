"""Links and tables as data, and the templates that draw them.

Templates escape every text. Links lead to the Hub or to a view of this page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
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


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        content: Texts and links.
        css: Class, in addition to that of the column.
        small: A standard error or an interval, next to the content.
        hint: Shown under the pointer.
        hub: Address of the checkpoint on the Hub, for a small link.
        hub_name: The checkpoint of the small link.
        seen: Evidence that the checkpoint was trained on the dataset.
        problem: An error message.
        choice: The checkpoint that a checkbox chooses for a comparison.
        is_chosen: Whether it is chosen.
        bar: Per cent of the row's width: end of the bar, start and width of its error.
    """

    content: Parts = ""
    css: str = ""
    small: str = ""
    hint: str = ""
    hub: str | None = None
    hub_name: str = ""
    seen: str = ""
    problem: str = ""
    choice: str = ""
    is_chosen: bool = False
    bar: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Text or a link of its header.
        css: Class; "checkpoint" and "title" are headers of rows.
        name: Name in addresses; empty if the table is not sorted by it.
        small: A second line of the header.
        hint: Shown under the pointer.
        order: The current order, if the table is sorted by this column: "ascending" or "descending".
        first: The order after the first click.
    """

    title: str | Link
    css: str = "text"
    name: str = ""
    small: str = ""
    hint: str = ""
    order: str = ""
    first: str = ""

    @property
    def label(self) -> str:
        """The title as text, for cards on a phone."""
        return self.title if isinstance(self.title, str) else self.title.text

    @property
    def heads_rows(self) -> bool:
        return self.css in ("checkpoint", "title")


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        cells: Its cells.
        css: "band" for the first row of a group, "failed" for a failed checkpoint.
        place: Its index in the values of the table.
        is_hidden: Whether it does not pass the filters.
    """

    cells: Sequence[Parts | Cell]
    css: str = ""
    place: int | None = None
    is_hidden: bool = False


@dataclass(frozen=True)
class Table:
    """A table; `data` contains the values by which the browser filters and orders its rows."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[TableRow]
    css: str = "board"
    caption: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def plain_table(name: str, heads: Iterable[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table that is not sorted; `heads` are classes and titles."""
    return Table(name, [Column(title, css) for css, title in heads], [TableRow(cells) for cells in rows], "plain")


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


def sorting_column(name: str, title: str, css: str, order: str, query: Callable[[str], str], hint: str = "") -> Column:
    """Return a sortable column; `order` is the current order, see `lines.sorted_lines`."""
    state = "" if order.removeprefix("-") != name else "descending" if order.startswith("-") else "ascending"
    return Column(Link(title, query(turned(order, name))), css, name, "", hint, state, turned("", name))


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
