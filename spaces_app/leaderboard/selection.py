"""The selection of a page as data: from and to the query of the URL, and as a title."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import parse_qs, urlencode

import msgspec

from hf_emms.ranking import Ranking, columns
from leaderboard.markup import Link
from leaderboard.store import Entry, Snapshot

TABS = {
    "home": "Home",
    "rankings": "Rankings",
    "across": "Across datasets",
    "submit": "Submit",
    "about": "About",
    "api": "Use via API",
}
# The tabs of a page without a server.
STATIC_TABS = ("home", "rankings", "across", "about")
WITHOUT_SELECTION = ("submit", "about", "api")
FILTERS = ("q", "max", "library", "license", "language", "trained")

SIZES = {
    "100k": 100_000,
    "1M": 1_000_000,
    "10M": 10_000_000,
    "30M": 30_000_000,
    "100M": 100_000_000,
    "300M": 300_000_000,
    "1B": 1_000_000_000,
    "3B": 3_000_000_000,
    "10B": 10_000_000_000,
}

_TITLES = {column.name: column.title_in("page").capitalize() for column in columns.COLUMNS if "page" in column.tables}
_FACTS = ("memory", "downloads", "library", "license")
_TITLES |= {"speed": "Inputs/s"} | {name: name.capitalize() for name in _FACTS}
# The default columns, in this order; rank, checkpoint and the ordering score are always shown.
DEFAULT_COLUMNS = (
    *("fine_tuned", "published", "parameters", "license", "memory", "speed"),
    *("bytes_per_million", "documents_per_second", "longest_input"),  # of searches
)
# All columns, with their titles.
COLUMNS = {name: _TITLES[name] for name in dict.fromkeys((*DEFAULT_COLUMNS, *_TITLES))}
_COSTS = ("parameters", "memory", "seconds", "hours_per_million", "bytes_per_million", "documents_per_second")
COSTS = {name: _TITLES[name] for name in _COSTS}
TRAINED = {"": "any", "unseen": "not known to be trained on the dataset"}
ROWS_AT_ONCE = 200


@dataclass(frozen=True)
class View:
    """A view of the page, by the names of its fields in addresses. Empty text and tuples do not restrict it.

    Attributes:
        tab: A key of TABS.
        task: The Hub's task id.
        ranking: Id of an entry.
        checkpoint: Shows the page of a checkpoint.
        q: Words that a checkpoint's name must contain; "|" separates alternatives.
        max: Largest size, a key of SIZES.
        library: Accepted libraries.
        license: Accepted licenses.
        language: Accepted languages, in the codes of cards ("en").
        trained: A key of TRAINED.
        columns: "all" shows all columns and estimators.
        sort: A name in `sorts` of the ranking, with "-" in front for largest first.
        rows: Number of rows to draw.
        cost: The horizontal axis of the plot, a key of COSTS.
        compare: The checkpoints that the tab Across datasets compares.
    """

    tab: Literal[*TABS] = "rankings"
    task: str = ""
    ranking: str = ""
    checkpoint: str = ""
    q: Annotated[str, msgspec.Meta(max_length=120)] = ""
    max: Literal["", *SIZES] = ""
    library: tuple[str, ...] = ()
    license: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    trained: Literal[*TRAINED] = ""
    columns: Literal["", "all"] = ""
    sort: Annotated[str, msgspec.Meta(min_length=1)] = "rank"
    rows: Annotated[int, msgspec.Meta(gt=0, lt=10**7)] = ROWS_AT_ONCE
    cost: Literal[*COSTS] = "parameters"
    compare: tuple[str, ...] = ()


# Fields that can be repeated.
_LISTS = ("library", "license", "language", "compare")
_MAX_QUERY = 8000
_TYPES = get_type_hints(View, include_extras=True)


def to_query(view: View) -> str:
    """Return the query of the URL in a fixed order, without default values; it is never empty."""
    usual = View()
    pairs: list[tuple[str, str]] = []
    for name, value in vars(view).items():
        if value != getattr(usual, name):
            pairs += [(name, str(item)) for item in (value if name in _LISTS else (value,))]
    return urlencode(pairs or [("tab", view.tab)])  # an address without fields is the home page


def from_query(query: str) -> View:
    """Parse the query of a URL; missing and invalid fields get their default."""
    fields = parse_qs(query.removeprefix("?"), keep_blank_values=True) if len(query) < _MAX_QUERY else {}
    values: dict[str, Any] = {"tab": "home"} if _names_nothing(fields) else {}
    for name, kind in _TYPES.items():
        if texts := fields.get(name):
            value = [*dict.fromkeys(filter(None, texts))] if name in _LISTS else texts[-1].strip()
            with suppress(msgspec.ValidationError):
                values[name] = msgspec.convert(value, kind, strict=False)
    return View(**values)


def sorts(ranking: Ranking) -> tuple[str, ...]:
    """Return the names by which a ranking can be sorted: its estimators and the columns of the table."""
    return ("rank", "checkpoint", *ranking.estimators, *COLUMNS)


def _names_nothing(fields: Collection[str]) -> bool:
    """Return whether an address has only fields of others, such as "__theme" and "utm_source"."""
    return not {*fields} & {*_TYPES}


def resolved(view: View, snapshot: Snapshot) -> tuple[View, Entry | None]:
    """Resolve the ranking and the order of a view; also return the entry of the ranking.

    If ranking and task differ, the task counts, because a form without scripts sends both. Without a ranking, this
    takes the first one of the task; without a task, the first one of all. If the ranking or task does not exist, the
    entry is None, and the page reports it. An order that the ranking does not have becomes the default.
    """
    if view.tab == "home":
        return view, None
    entry = snapshot.entries.get(view.ranking)
    if entry is not None and view.task in snapshot.tasks and view.task != entry.ranking.task:
        view = replace(view, ranking="")
    if view.ranking:
        entry = snapshot.entries.get(view.ranking)
    elif view.task:
        entry = next(iter(snapshot.of_task(view.task)), None)
    else:
        entry = next(iter(snapshot.entries.values()), None)
    if entry is None:
        return view, None
    sort = view.sort if view.sort.removeprefix("-") in sorts(entry.ranking) else "rank"
    return replace(view, task=entry.ranking.task, ranking=entry.id, sort=sort), entry


def is_filtered(view: View) -> bool:
    """Return whether a filter is set."""
    return any(getattr(view, name) for name in FILTERS)


def filter_query(view: View) -> str:
    """Return the fields of a view on which its answer and its plot depend; page.js makes the same of its address."""
    pairs = []
    for name in ("cost", *FILTERS):
        value = getattr(view, name)
        if value != getattr(View(), name):
            pairs += [(name, item) for item in (value if name in _LISTS else (value,))]
    return urlencode(pairs)


def without_filters(view: View) -> View:
    """Return the view without filters."""
    usual = View()
    return replace(view, **{name: getattr(usual, name) for name in FILTERS})


def checkpoint_link(name: str, view: View) -> Link:
    """Return a link to the page of a checkpoint, which links back to the view."""
    there = replace(view, tab="rankings", checkpoint=name, rows=View.rows)
    return Link(name, to_query(there), is_name=True)


def ranking_link(entry: Entry, snapshot: Snapshot, view: View | None = None) -> Link:
    """Return a link to the page of a ranking, with the filters of the view."""
    there = replace(view or View(), tab="rankings", task=entry.ranking.task, ranking=entry.id, rows=View.rows)
    return Link(label(entry, snapshot), to_query(there), is_name=True)


def label(entry: Entry, snapshot: Snapshot) -> str:
    """Return a name of the ranking that is unique within its task."""
    ranking = entry.ranking
    alike = sum(other.ranking.dataset == ranking.dataset for other in snapshot.of_task(ranking.task))
    if alike == 1:
        return ranking.dataset
    details = [f"n {ranking.n:,}", f"seed {ranking.settings.get('seed')}", ranking.created[:10]]
    return " · ".join([ranking.dataset, *([ranking.config] if ranking.config else []), ranking.split, *details])


def title(view: View, entry: Entry | None) -> str:
    """Return the title of the page."""
    dataset = entry.ranking.dataset if entry else "no such ranking"
    parts = {
        "home": "all datasets",
        "rankings": view.checkpoint or dataset,
        "across": view.task,
    }
    return " · ".join(filter(None, [parts.get(view.tab, ""), TABS[view.tab], "EMMS leaderboard"]))
