"""The page: Gradio's components, and what follows from what.

One function shows a view; every control, every link inside the page, and the browser's back and forward lead there. The
browser is told the view's URL through the hidden component `address`, see page.js.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from leaderboard import render, table
from leaderboard.endpoints import Endpoints
from leaderboard.selection import (
    COLUMNS,
    COSTS,
    DEFAULT_COLUMNS,
    ROWS_AT_ONCE,
    SCOPES,
    SIZES,
    TABS,
    WITHOUT_SELECTION,
    View,
    from_query,
    label,
    resolved,
)
from leaderboard.store import Snapshot, Store
from leaderboard.submit_tab import submit_tab

HERE = Path(__file__).parent
STYLE = HERE / "style.css"
_NOTICE_SECONDS = 15.0
_LOCATION = "() => [window.location.search]"
_SYNC = "(address) => window.emms.sync(address)"
# Events that are no endpoints, answered at once and without a veil over what is there.
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}

_EXPORTS = {"copy": "Copy table", "csv": "Download CSV", "json": "Download JSON"}

_INTRODUCTION = (
    "# Which checkpoint should I fine-tune?\n"
    "Pretrained checkpoints, ranked for a dataset by EMMS and its controls, without fine-tuning any of them."
)


def head() -> str:
    """What the page's head holds: the script that keeps the URL."""
    return f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>"


@dataclass(frozen=True)
class Parts:
    """The components that show a view. `controls` is in the order of the View's fields of the same names."""

    controls: dict[str, gr.components.Component]
    tabs: gr.Tabs
    bar: gr.Column
    filters: gr.Accordion
    contents: dict[str, gr.HTML]
    command: gr.Code
    notice: gr.HTML
    data: gr.HTML
    address: gr.Textbox


@dataclass(frozen=True)
class Filled:
    """What the tabs hold."""

    items: dict[str, gr.Tab]
    contents: dict[str, gr.HTML]
    command: gr.Code
    buttons: dict[str, gr.Button]


def build(store: Store, repo_id: str = "", *, sign_in: bool = False, every: float = 300.0) -> gr.Blocks:
    """The page over a store.

    Args:
        store: the rankings.
        repo_id: the results dataset that submissions go to; "" for none.
        sign_in: whether users can sign in to the Hub here.
        every: seconds between two refreshes of the store.
    """
    with gr.Blocks(title="EMMS leaderboard", fill_width=True, analytics_enabled=False) as page:
        gr.Markdown(_INTRODUCTION)
        notice = gr.HTML(visible=False)
        with gr.Column() as bar:
            controls, filters = _selection_bar()
        with gr.Tabs(elem_id="emms-tabs") as tabs:
            filled = _tabs(controls, repo_id, sign_in)
        data = gr.HTML(apply_default_css=False)
        address = gr.Textbox(visible="hidden", elem_id="emms-address", label="address")
        parts = Parts(controls, tabs, bar, filters, filled.contents, filled.command, notice, data, address)
        _wire(page, parts, filled.items, store, repo_id)
        gr.Timer(min(every, _NOTICE_SECONDS)).tick(
            lambda address: _notice(line) if (line := render.newer(address, store.snapshot)) else gr.skip(),
            address,
            notice,
            **_QUIET,
        )
        _wire_exports(filled.buttons, address, store)
        endpoints = Endpoints(store)
        for name in ("list_rankings", "get_ranking", "recommend_checkpoints", "compare_datasets", "validate_ranking"):
            gr.api(getattr(endpoints, name), api_name=name)
    return page


def _selection_bar() -> tuple[dict[str, gr.components.Component], gr.Accordion]:
    with gr.Row():
        task = gr.Dropdown([], label="Task", elem_id="emms-task", min_width=125)
        ranking = gr.Dropdown([], label="Dataset", elem_id="emms-ranking", min_width=125, scale=2)
        q = gr.Textbox(label="Search", placeholder="part of a checkpoint's name", elem_id="emms-q", min_width=160)
    with gr.Accordion("Filters and columns", open=False, elem_id="emms-filters") as filters:
        with gr.Row():
            at_least = gr.Dropdown([("any", ""), *SIZES], value="", label="Parameters, at least", min_width=130)
            at_most = gr.Dropdown([("any", ""), *SIZES], value="", label="Parameters, at most", min_width=130)
            library = gr.Dropdown([], label="Library", multiselect=True, min_width=160, elem_id="emms-library")
            licence = gr.Dropdown([], label="Licence", multiselect=True, min_width=160, elem_id="emms-licence")
        columns = gr.CheckboxGroup(
            [(title, name) for name, title in COLUMNS.items()], value=list(DEFAULT_COLUMNS), label="Columns"
        )
    found = {"task": task, "ranking": ranking, "q": q, "at_least": at_least, "at_most": at_most}
    return found | {"library": library, "licence": licence, "columns": columns}, filters


def _tabs(controls: dict[str, gr.components.Component], repo_id: str, sign_in: bool) -> Filled:
    """Fills the tabs; adds the controls that only one tab has."""
    items, contents = {}, {}
    for name, title in TABS.items():
        with gr.Tab(title, id=name) as items[name]:
            if name == "across":
                choices = [(text, key) for key, text in SCOPES.items()]
                controls["scope"] = gr.Radio(choices, value="task", label="Datasets of", elem_id="emms-scope")
            elif name == "choose":
                controls["own"] = gr.Textbox(
                    label="Your dataset",
                    placeholder="./my-dataset or ORG/NAME",
                    info="The budget of parameters and the licence are set under Filters, above.",
                    elem_id="emms-own",
                )
            elif name == "cost":
                choices = [(text, key) for key, text in COSTS.items()]
                controls["cost"] = gr.Radio(choices, value="parameters", label="Cost", elem_id="emms-cost")
            elif name == "submit":
                submit_tab(repo_id, sign_in)
            elif name == "about":
                gr.Markdown((HERE / "about.md").read_text(encoding="utf-8"))
            if name not in WITHOUT_SELECTION:
                contents[name] = gr.HTML(elem_id=f"emms-{name}", padding=False, apply_default_css=False)
            if name == "rankings":
                with gr.Row():
                    buttons = {
                        kind: gr.Button(text, size="sm", elem_id=f"emms-{kind}") for kind, text in _EXPORTS.items()
                    }
            if name == "choose":
                command = gr.Code(language="shell", label="Rank them on your dataset", interactive=False, visible=False)
    return Filled(items, contents, command, buttons)


def _wire(page: gr.Blocks, parts: Parts, tab_items: dict[str, gr.Tab], store: Store, repo_id: str) -> None:
    inputs = [parts.address, *parts.controls.values()]
    outputs = [
        *(parts.controls.values()),
        *(parts.contents.values()),
        *(parts.tabs, parts.bar, parts.filters, parts.command, parts.notice, parts.data, parts.address),
    ]

    def restore(query: str) -> list[Any]:
        snapshot = store.snapshot
        shown = render.show(from_query(query), snapshot, replaces=True)
        return _updates(parts, shown, snapshot, render.about_the_data(snapshot, repo_id))

    def follow(control: str, tab: str, address: str, *values: Any) -> list[Any]:
        """Shows what follows from a control that was changed, or a tab that was opened."""
        snapshot = store.snapshot
        before = _query(address)
        if tab and tab == before.tab:
            return [gr.skip()] * len(outputs)
        view = _view(before, dict(zip(parts.controls, values, strict=True)))
        view = replace(view, tab=tab or before.tab, rows=ROWS_AT_ONCE)
        if control == "task":
            view = replace(view, ranking="")
        return _changes(parts, render.show(view, snapshot), snapshot, control, tab)

    def on(event: Callable[..., Any], control: str = "", tab: str = "") -> None:
        event(partial(follow, control, tab), inputs, outputs, trigger_mode="always_last", **_QUIET).then(
            None, parts.address, None, js=_SYNC, **_QUIET
        )

    for name, component in parts.controls.items():
        on(component.input, control=name)  # type: ignore[attr-defined]
    for name, item in tab_items.items():
        on(item.select, tab=name)
    location = gr.Textbox(visible="hidden", label="location")
    again = gr.Button(visible="hidden", elem_id="emms-restore")
    for event in (page.load, again.click):
        event(restore, location, outputs, js=_LOCATION, **_QUIET).then(None, parts.address, None, js=_SYNC, **_QUIET)


def _wire_exports(buttons: dict[str, gr.Button], address: gr.Textbox, store: Store) -> None:
    """The buttons under the table: what is shown, made into a file by the browser."""

    def export(kind: str, address: str) -> str:
        snapshot = store.snapshot
        view, entry = resolved(_query(address), snapshot)
        if entry is None:
            return ""
        if kind == "json":
            text, type = table.to_json(view, entry.ranking, snapshot), "application/json"
        else:
            delimiter, type = ("\t", "text/plain") if kind == "copy" else (",", "text/csv")
            text = table.to_csv(view, entry.ranking, snapshot, delimiter)
        name = "".join(char if char.isascii() and char.isalnum() else "-" for char in entry.ranking.dataset)
        return json.dumps({"name": f"emms-{name}.{kind}", "type": type, "text": text})

    payload = gr.Textbox(visible="hidden", label="payload")
    for kind, button in buttons.items():
        call = "copy" if kind == "copy" else "download"
        button.click(partial(export, kind), address, payload, **_QUIET).then(
            None, payload, None, js=f"(payload) => window.emms.{call}(payload)", **_QUIET
        )


def _query(address: str) -> View:
    return from_query(json.loads(address)["query"]) if address else View()


def _view(before: View, values: dict[str, Any]) -> View:
    """The view that the controls show; what is no control (order, tab) is as before."""
    made = {name: tuple(value) if isinstance(value, list) else (value or "") for name, value in values.items()}
    return replace(before, **made)


def _updates(parts: Parts, shown: render.Shown, snapshot: Snapshot, data: str) -> list[Any]:
    """Everything anew: every control, the tab, its content."""
    view = shown.view
    values = {name: getattr(view, name) for name in parts.controls}
    controls: dict[str, Any] = {
        name: gr.update(value=list(value) if isinstance(value, tuple) else value) for name, value in values.items()
    }
    tasks = list(snapshot.tasks)
    controls["task"] = gr.update(choices=tasks, value=view.task if view.task in tasks else None)
    controls["ranking"] = _ranking_choices(shown, snapshot)
    controls["library"] = gr.update(choices=list(snapshot.libraries), value=list(view.library))
    controls["licence"] = gr.update(choices=list(snapshot.licences), value=list(view.licence))
    tab, shown_data = gr.update(selected=view.tab), [data, shown.address]
    return [*controls.values(), *_contents(parts, shown), tab, *_rest(shown, opened=True), *shown_data]


def _changes(parts: Parts, shown: render.Shown, snapshot: Snapshot, control: str, tab: str) -> list[Any]:
    """Only what follows from one change."""
    controls = dict.fromkeys(parts.controls, gr.skip())
    if control == "task":
        controls["ranking"] = _ranking_choices(shown, snapshot)
    rest = _rest(shown, opened=bool(tab))
    return [*controls.values(), *_contents(parts, shown), gr.skip(), *rest, gr.skip(), shown.address]


def _contents(parts: Parts, shown: render.Shown) -> list[Any]:
    return [shown.content if name == shown.view.tab else gr.skip() for name in parts.contents]


def _rest(shown: render.Shown, *, opened: bool) -> list[Any]:
    """Bar, filters, command and notice; `opened` says whether the tab is new to the user."""
    view = shown.view
    bar = gr.update(visible=view.tab not in WITHOUT_SELECTION)
    limited = bool(view.at_least or view.at_most or view.library or view.licence)
    filters = gr.update(open=limited or view.tab == "choose") if opened else gr.skip()
    if view.tab != "choose":
        return [bar, filters, gr.skip(), _notice(shown.notice)]
    return [bar, filters, gr.update(value=shown.command, visible=bool(shown.command)), _notice(shown.notice)]


def _notice(text: str) -> Any:
    return gr.update(value=text, visible=bool(text))


def _ranking_choices(shown: render.Shown, snapshot: Snapshot) -> Any:
    choices = [(label(entry, snapshot), entry.id) for entry in snapshot.of_task(shown.view.task)]
    return gr.update(choices=choices, value=shown.entry.id if shown.entry else None)
