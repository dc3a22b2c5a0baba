"""The page: Gradio's components and their events.

One function shows a view; every control, every link inside the page, and the browser's back and forward lead there. The
browser gets the view's URL through the hidden component `address`, see page.js.
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
from leaderboard.endpoints import ENDPOINTS, Endpoints
from leaderboard.markup import HUB
from leaderboard.selection import (
    COLUMNS,
    COSTS,
    DEFAULT_COLUMNS,
    ROWS_AT_ONCE,
    SCOPES,
    SIZES,
    TABS,
    TRAINED,
    WITHOUT_SELECTION,
    View,
    from_query,
    is_filtered,
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
# Events that are no endpoints, answered at once and without a veil over what is there. Values come as the browser sends
# them: Gradio compares a choice with those it sent in this session, which it may have forgotten.
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False, "preprocess": False}

_FRAME = (
    "@media (max-width: 640px) { .gradio-container .main.fillable.app { padding: .5rem .75rem; }"
    " #emms-question h1 { font-size: 1.05rem !important; } #emms-tabs { margin-top: -.75rem; } }"
    ".dark { --color-accent: #2dd4bf !important; }"
    "footer, footer button, footer a { color: var(--body-text-color) !important; }"
)

_LARGE = ("rankings", "across", "cost")
_EXPORTS = {"copy": "Copy table", "csv": "Download CSV", "json": "Download JSON"}

_INTRODUCTION = "# Which checkpoint should I fine-tune?"
# The system's fonts: Gradio's own has few letters in semibold. Colours of 4.5:1 or more on their grounds.
THEME = gr.themes.Default(
    primary_hue="teal",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
    spacing_size="sm",
).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    button_primary_text_color="white",
    button_primary_text_color_dark="white",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    color_accent="*primary_700",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
)


def head() -> str:
    """The page's head: the script that keeps the URL up to date, and what css_paths cannot reach outside the page."""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return f"<script>{script.replace('https://huggingface.co', HUB)}</script><style>{_FRAME}</style>"


@dataclass(frozen=True)
class Parts:
    """The components that show a view. `controls` is in the order of the View's fields of the same names."""

    controls: dict[str, gr.components.Component]
    tabs: gr.Tabs
    bar: gr.Column
    filters: gr.Accordion
    answer: gr.HTML
    contents: dict[str, gr.HTML]
    notice: gr.HTML
    data: gr.HTML
    address: gr.Textbox


@dataclass(frozen=True)
class Filled:
    """What the tabs hold."""

    items: dict[str, gr.Tab]
    contents: dict[str, gr.HTML]
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
        gr.Markdown(_INTRODUCTION, elem_id="emms-question")
        notice = gr.HTML(visible=False)
        with gr.Column() as bar:
            controls, filters = _selection_bar()
            answer = gr.HTML(elem_id="emms-answer-first", padding=False, apply_default_css=False)
        with gr.Tabs(elem_id="emms-tabs") as tabs:
            filled = _tabs(controls, store, repo_id, sign_in)
        data = gr.HTML(apply_default_css=False)
        address = gr.Textbox(visible="hidden", elem_id="emms-address", label="address")
        parts = Parts(controls, tabs, bar, filters, answer, filled.contents, notice, data, address)
        _wire(page, parts, filled.items, store, repo_id)
        gr.Timer(min(every, _NOTICE_SECONDS)).tick(
            lambda *shown: gr.skip() if (line := render.newer(*shown, store.snapshot)) is None else _notice(line),
            [address, notice],
            notice,
            **_QUIET,
        )
        _wire_exports(filled.buttons, address, store)
        endpoints = Endpoints(store)
        for name in ENDPOINTS:
            gr.api(getattr(endpoints, name), api_name=name)
    return page


def _selection_bar() -> tuple[dict[str, gr.components.Component], gr.Accordion]:
    with gr.Row(elem_id="emms-bar"):
        task = gr.Dropdown([], label="Task", elem_id="emms-task", min_width=140)
        ranking = gr.Dropdown([], label="Dataset", elem_id="emms-ranking", min_width=140, scale=2)
        q = gr.Textbox(label="Search", placeholder="part of a name, or a | b", elem_id="emms-q", min_width=140)
    with gr.Accordion("Filters and columns", open=False, elem_id="emms-filters") as filters:
        with gr.Row():
            at_least = gr.Dropdown([("any", ""), *SIZES], value="", label="Parameters, at least", min_width=130)
            at_most = gr.Dropdown([("any", ""), *SIZES], value="", label="Parameters, at most", min_width=130)
            library = gr.Dropdown([], label="Library", multiselect=True, min_width=160, elem_id="emms-library")
            licence = gr.Dropdown([], label="Licence", multiselect=True, min_width=160, elem_id="emms-licence")
            trained = gr.Dropdown(
                [(text, name) for name, text in TRAINED.items()], value="", label="Training data", min_width=160
            )
        columns = gr.CheckboxGroup(
            [(title, name) for name, title in COLUMNS.items()], value=list(DEFAULT_COLUMNS), label="Columns"
        )
    found = {"task": task, "ranking": ranking, "q": q, "at_least": at_least, "at_most": at_most}
    return found | {"library": library, "licence": licence, "trained": trained, "columns": columns}, filters


def _tabs(controls: dict[str, gr.components.Component], store: Store, repo_id: str, sign_in: bool) -> Filled:
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
                controls["cost"] = gr.Radio(choices, value="parameters", label="Cost", elem_id="emms-cost-of")
            elif name == "submit":
                submit_tab(store, repo_id, sign_in)
            elif name == "about":
                gr.Markdown((HERE / "about.md").read_text(encoding="utf-8"))
            if name not in WITHOUT_SELECTION:
                contents[name] = gr.HTML(elem_id=f"emms-{name}", padding=False, apply_default_css=False)
            if name == "rankings":
                with gr.Row(elem_id="emms-exports"):
                    buttons = {
                        kind: gr.Button(text, size="sm", elem_id=f"emms-{kind}") for kind, text in _EXPORTS.items()
                    }
            if name in _LARGE:
                full = gr.Button("Full screen", size="sm", elem_classes="emms-full")
                full.click(None, js="() => window.emms.fullScreen()", **_QUIET)
    return Filled(items, contents, buttons)


def _wire(page: gr.Blocks, parts: Parts, tab_items: dict[str, gr.Tab], store: Store, repo_id: str) -> None:
    inputs = [parts.address, *parts.controls.values()]
    shown_in = [parts.answer, *parts.contents.values(), parts.notice, parts.address]
    around = [parts.bar, parts.filters]

    def restore(query: str) -> list[Any]:
        """Shows the view of a URL: every control, the tab and its content."""
        snapshot = store.snapshot
        shown = render.show(from_query(query), snapshot, asked=query)
        data = render.about_the_data(snapshot, repo_id)
        tab = gr.update(selected=shown.view.tab)
        return [*_contents(parts, shown), *_around(shown.view), *_controls(parts, shown, snapshot), tab, data]

    def follow(control: str, address: str, *values: Any) -> list[Any]:
        """Shows what follows from a control that was changed. What doesn't change is not sent."""
        before = _whole(_query(address))
        view = _view(before, dict(zip(parts.controls, values, strict=True)))
        if getattr(view, control) == getattr(before, control):  # not the user's doing, but `restore`'s
            return [gr.skip()] * (len(shown_in) + 2 * (control == "task"))
        if control != "task":
            return _contents(parts, render.show(view, store.snapshot))
        snapshot = store.snapshot
        shown = render.show(replace(view, ranking="", q=""), snapshot)  # names of one task are not those of another
        return [*_contents(parts, shown), _ranking_choices(shown, snapshot), ""]

    def turn(tab: str, address: str, *values: Any) -> list[Any]:
        """Shows a tab that was opened."""
        before = _query(address)
        if tab == before.tab:  # opened by `restore`, which has filled it
            return [gr.skip()] * (len(shown_in) + len(around))
        view = replace(_view(_whole(before), dict(zip(parts.controls, values, strict=True))), tab=tab)
        return [*_contents(parts, render.show(view, store.snapshot)), *_around(view)]

    def on(event: Callable[..., Any], answer: Callable[..., Any], inputs: Any, outputs: Any, **more: Any) -> None:
        done = event(answer, inputs, outputs, **more, **_QUIET)
        done.then(None, parts.address, None, js=_SYNC, **_QUIET)

    for name, component in parts.controls.items():
        more = [parts.controls["ranking"], parts.controls["q"]] if name == "task" else []
        # A Textbox has an input event only where a key has made a letter: not of deleting, cutting and pasting.
        event = component.change if isinstance(component, gr.Textbox) else component.input  # type: ignore[attr-defined]
        on(event, partial(follow, name), inputs, [*shown_in, *more], trigger_mode="always_last")
    for name, item in tab_items.items():
        on(item.select, partial(turn, name), inputs, [*shown_in, *around], trigger_mode="always_last")
    location = gr.Textbox(visible="hidden", label="location")
    again = gr.Button(visible="hidden", elem_id="emms-restore")
    everything = [*shown_in, *around, *parts.controls.values(), parts.tabs, parts.data]
    on(page.load, restore, location, everything, js=_LOCATION)
    on(again.click, restore, location, everything, js=_LOCATION, trigger_mode="always_last")


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


def _whole(view: View) -> View:
    """The view of the whole ranking from its start."""
    return replace(view, rows=ROWS_AT_ONCE, checkpoint="", compare=())


def _view(before: View, values: dict[str, Any]) -> View:
    """The view that the controls show; what is no control (order, tab) is as before."""
    made = {name: tuple(value) if isinstance(value, list) else (value or "").strip() for name, value in values.items()}
    made["columns"] = tuple(name for name in COLUMNS if name in made["columns"])
    return replace(before, **made)


def _contents(parts: Parts, shown: render.Shown) -> list[Any]:
    """The answer, the content of the tab that is open, the notice and the address."""
    contents = [shown.content if name == shown.view.tab else gr.skip() for name in parts.contents]
    return [shown.answer, *contents, _notice(shown.notice), shown.address]


def _around(view: View) -> list[Any]:
    """Bar and filters of a tab that has just been opened."""
    limited = is_filtered(replace(view, q=""))
    bar = gr.update(visible=view.tab not in WITHOUT_SELECTION)
    return [bar, gr.update(open=limited or view.tab == "choose")]


def _controls(parts: Parts, shown: render.Shown, snapshot: Snapshot) -> list[Any]:
    """All controls as the view has them."""
    values = {name: getattr(shown.view, name) for name in parts.controls}
    controls: dict[str, Any] = {
        name: gr.update(value=list(value) if isinstance(value, tuple) else value) for name, value in values.items()
    }
    task = shown.view.task
    controls["task"] = gr.update(choices=list(snapshot.tasks), value=task if task in snapshot.tasks else None)
    controls["ranking"] = _ranking_choices(shown, snapshot)
    for name, known in (("library", snapshot.libraries), ("licence", snapshot.licences)):
        chosen = getattr(shown.view, name)  # perhaps of checkpoints whose facts are not here yet
        controls[name] = gr.update(choices=sorted({*known, *chosen}), value=list(chosen))
    return list(controls.values())


def _notice(text: str) -> Any:
    return gr.update(value=text, visible=bool(text))


def _ranking_choices(shown: render.Shown, snapshot: Snapshot) -> Any:
    choices = [(label(entry, snapshot), entry.id) for entry in snapshot.of_task(shown.view.task)]
    return gr.update(choices=choices, value=shown.entry.id if shown.entry else None)
