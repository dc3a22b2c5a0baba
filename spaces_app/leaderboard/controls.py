"""The form above a view: pickers, a search, filters with numbers of checkpoints, and columns."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from leaderboard.across import of_scope
from leaderboard.lines import Line, lines, matching
from leaderboard.markup import escape
from leaderboard.selection import (
    COLUMNS,
    COSTS,
    PARAMETERS,
    SCOPES,
    SIZES,
    TRAINED,
    View,
    is_filtered,
    label,
)
from leaderboard.store import Snapshot

_MAX_BOXES = 15
_FORM = 'id="emms-form" method="get" action="" role="search"'


def form(view: View, snapshot: Snapshot) -> str:
    """Render the form; hidden fields contain the rest of the view."""
    hidden = {name: getattr(view, name) for name in ("tab", "sort", "order")}
    usual = View()
    fields = "".join(_hidden(name, value) for name, value in hidden.items() if value != getattr(usual, name))
    if view.tab == "home":
        search = _text("q", "Search", view.q, "a dataset, a task or a checkpoint", kind="search")
        kept = "".join(_hidden(name, getattr(view, name)) for name in ("task", "ranking"))
        return (
            f"<form {_FORM}><div hidden>{fields}{kept}</div>"
            f'<div class="pickers">{search}<button class="unscripted">Show</button></div></form>'
        )
    pickers = (
        _select("task", "Task", view.task, _tasks(snapshot))
        + (_select("ranking", "Dataset", view.ranking, _rankings(view, snapshot)) if _has_dataset(view) else "")
        + _of_the_tab(view)
        + _text("q", "Search", view.q, "part of a name, or a | b", kind="search")
    )
    is_open = " open" if is_filtered(replace(view, q="")) or view.tab == "choose" else ""
    columns = _columns(view) if view.tab == "rankings" else ""
    return (
        f"<form {_FORM}><div hidden>{fields}</div>"
        f'<div class="pickers">{pickers}<button class="unscripted">Show</button></div>'
        f'<details id="emms-filters"{is_open}><summary>Filters{" and columns" if columns else ""}</summary>'
        f'<div class="pickers">{_filters(view, snapshot)}</div>{columns}</details></form>'
    )


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{html.escape(value)}">' if value else ""


def _has_dataset(view: View) -> bool:
    return view.tab in ("rankings", "cost")


def _of_the_tab(view: View) -> str:
    if view.tab == "across":
        return _select("scope", "Datasets of", view.scope, SCOPES)
    if view.tab == "cost":
        return _select("cost", "Cost", view.cost, COSTS)
    if view.tab == "choose":
        return _text("data", "Your dataset", view.data, "./my-dataset or ORG/NAME")
    return ""


def _tasks(snapshot: Snapshot) -> dict[str, str]:
    counts = Counter(entry.ranking.task for entry in snapshot.entries.values())
    return {task: f"{task} ({counts[task]:,})" for task in snapshot.tasks}


def _rankings(view: View, snapshot: Snapshot) -> dict[str, str]:
    return {entry.id: label(entry, snapshot) for entry in snapshot.of_task(view.task)}


def _filters(view: View, snapshot: Snapshot) -> str:
    """Render the filters; each choice shows how many checkpoints would pass."""
    if _has_dataset(view):
        entry = snapshot.entries.get(view.ranking)
        all_lines = lines(entry.ranking, snapshot) if entry else []
    else:
        all_lines = [line for entry in of_scope(view, snapshot) for line in lines(entry.ranking, snapshot)]

    def passing(name: str) -> dict[str, Line]:
        without = matching(all_lines, replace(view, **{name: getattr(View(), name)}))
        return {line.row.checkpoint: line for line in without}

    def sizes(name: str, passes: Callable[[int, int], bool]) -> dict[str, str]:
        passed = [line.row.parameters for line in passing(name).values() if line.row.parameters is not None]
        counts = {size: sum(passes(parameters, limit) for parameters in passed) for size, limit in SIZES.items()}
        return {"": "any"} | {size: f"{size} ({count:,})" for size, count in counts.items()}

    unseen = sum(not line.seen for line in passing("trained").values())
    trained = {name: text + (f" ({unseen:,})" if name else "") for name, text in TRAINED.items()}
    return (
        _select("at_most", "Parameters, at most", view.at_most, sizes("at_most", int.__le__))
        + _select("at_least", "Parameters, at least", view.at_least, sizes("at_least", int.__ge__))
        + _select("trained", "Training data", view.trained, trained)
        + _boxes("license", "License", view.license, (line.facts.license for line in passing("license").values()))
        + _boxes(
            "language",
            "Language",
            view.language,
            (code for line in passing("language").values() for code in line.facts.languages),
        )
        + _boxes("library", "Library", view.library, (line.facts.library for line in passing("library").values()))
    )


def _columns(view: View) -> str:
    """Render the boxes of the columns, and an empty field that is sent even if no box is ticked."""
    boxes = "".join(_box("columns", name, title, name in view.columns) for name, title in COLUMNS.items())
    return f'<fieldset><legend>Columns</legend><input type="hidden" name="columns" value="">{boxes}</fieldset>'


def _select(name: str, title: str, value: str, choices: Mapping[str, str]) -> str:
    if value not in choices:
        choices = {value: "–", **choices}
    options = "".join(
        f'<option value="{html.escape(choice)}"{" selected" if choice == value else ""}>{escape(text)}</option>'
        for choice, text in choices.items()
    )
    field = f'<select name="{PARAMETERS.get(name, name)}" id="emms-{name}">{options}</select>'
    return f'<div><label for="emms-{name}">{title}</label>{field}</div>'


def _text(name: str, title: str, value: str, placeholder: str, kind: str = "text") -> str:
    return (
        f'<div><label for="emms-{name}">{title}</label><input type="{kind}" name="{PARAMETERS.get(name, name)}" '
        f'id="emms-{name}" value="{html.escape(value)}" placeholder="{placeholder}" autocomplete="off" '
        'spellcheck="false"></div>'
    )


def _boxes(name: str, title: str, chosen: tuple[str, ...], values: Iterable[str | None]) -> str:
    """Render boxes for the most frequent values and for the chosen ones."""
    every = Counter(value for value in values if value)
    counts = {value: every[value] for value in chosen} | dict(every.most_common(_MAX_BOXES))
    if not counts:
        return ""
    boxes = "".join(
        _box(PARAMETERS.get(name, name), value, f"{value} ({count:,})", value in chosen)
        for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    return f"<fieldset><legend>{title}</legend>{boxes}</fieldset>"


def _box(name: str, value: str, text: str, checked: bool) -> str:
    return (
        f'<label class="box"><input type="checkbox" name="{name}" value="{html.escape(value)}"'
        f"{' checked' if checked else ''}>{escape(text)}</label>"
    )
