"""The leaderboard as one HTML page without a server: every view is drawn beforehand, static.js shows one of them.

    python -m leaderboard.static FOLDER ORIGIN FILE

reads the results dataset in FOLDER, which people know as ORIGIN, and writes FILE.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_emms.files import write_atomic
from hf_emms.ranking import Ranking
from leaderboard import render
from leaderboard.facts import HubFacts
from leaderboard.lines import in_order, lines
from leaderboard.markup import HUB, escape, view_link
from leaderboard.selection import COSTS, ORDERS, SCOPES, SORTS, View, label, to_query
from leaderboard.store import Snapshot, Store

HERE = Path(__file__).parent
TABS = {"rankings": "Rankings", "across": "Across datasets", "cost": "Score vs cost"}
_ALL_ROWS = 10**6
_QUESTION = "Which checkpoint should I fine-tune?"
_DESCRIPTION = "Pretrained checkpoints, ranked for a dataset without fine-tuning any"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>EMMS leaderboard</title><meta name="description" content="{description}">
<meta property="og:title" content="EMMS leaderboard"><meta property="og:description" content="{description}">
<style>{style}</style></head>
<body><main id="emms-first"><h1>{question}</h1>
<form id="emms-static-bar" role="search"><label>Dataset <select id="emms-static-ranking">{choices}</select></label>
<label>Search <input id="emms-static-q" type="search" placeholder="part of a name, or a | b"></label></form>
<nav id="emms-static-tabs" aria-label="Views">{tabs}</nav>
<div id="emms-static-answer">{answer}</div><div id="emms-static-view">{content}</div>{about}
<p class="emms-view"><span class="small">Comparisons, a shortlist for your limits and submissions:
<code>hf-emms leaderboard --results {origin}</code></span></p></main>
<button id="emms-restore" hidden></button>
<script type="application/json" id="emms-static-data">{data}</script><script>{script}</script></body></html>
"""


def page(snapshot: Snapshot, repo_id: str) -> str:
    """The page as HTML.

    Args:
        snapshot: the rankings.
        repo_id: the results dataset that they come from.
    """
    entries = list(snapshot.entries.values())
    views = {}
    for view in _views(snapshot):
        shown = render.show(view, snapshot)
        switch = _switch(shown.view)
        views[_key(view)] = {
            "title": json.loads(shown.address)["title"],
            "answer": shown.answer,
            "content": switch + shown.content,
        }
    data = {
        "rankings": [{"id": entry.id, "task": entry.ranking.task} for entry in entries],
        "orders": {entry.id: _orders(entry.ranking, snapshot) for entry in entries},
        "views": views,
    }
    first = views[_key(View(task=entries[0].ranking.task, ranking=entries[0].id))] if entries else {}
    styles = [(HERE / name).read_text(encoding="utf-8") for name in ("style.css", "static.css")]
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in ("page.js", "static.js")]
    return _PAGE.format(
        description=escape(_DESCRIPTION),
        style="".join(styles),
        question=_QUESTION,
        choices="".join(_choices(snapshot)),
        tabs="".join(view_link(to_query(View(tab=name)), title) for name, title in TABS.items()),
        answer=first.get("answer", ""),
        content=first.get("content", '<p class="emms-view">There are no rankings here yet.</p>'),
        about=render.about_the_data(snapshot, repo_id),
        origin=escape(repo_id),
        data=json.dumps(data).replace("<", "\\u003c"),
        script="".join(scripts).replace("https://huggingface.co", HUB),
    )


def _views(snapshot: Snapshot) -> Iterator[View]:
    for entry in snapshot.entries.values():
        here = View(task=entry.ranking.task, ranking=entry.id, rows=_ALL_ROWS)
        yield here
        yield from (replace(here, tab="cost", cost=cost) for cost in COSTS)
    orders = [f"{sign}{order}" for order in ORDERS for sign in ("", "-")]
    for task in snapshot.tasks:
        scopes = SCOPES if task == snapshot.tasks[0] else ("task",)  # all tasks are the same from every task
        yield from (View(tab="across", task=task, scope=scope, order=order) for scope in scopes for order in orders)
    names = (row.checkpoint for entry in snapshot.entries.values() for row in entry.ranking.rows)
    yield from (View(checkpoint=name) for name in dict.fromkeys(names))


def _key(view: View) -> str:
    """The query by which static.js finds the view."""
    if view.checkpoint:
        return to_query(View(checkpoint=view.checkpoint))
    if view.tab == "across":
        return to_query(replace(view, ranking="", task="" if view.scope == "all" else view.task))
    return to_query(replace(view, rows=View().rows, task=""))


def _switch(view: View) -> str:
    """Links to the same tab drawn otherwise, where there is a choice."""
    name, choices = {"cost": ("cost", COSTS), "across": ("scope", SCOPES)}.get(view.tab, ("", {}))
    if view.checkpoint or not choices:
        return ""
    links = [
        f"<strong>{text}</strong>"
        if getattr(view, name) == one
        else view_link(to_query(replace(view, **{name: one})), text)
        for one, text in choices.items()
    ]
    return f'<p class="emms-view small">{" · ".join(links)}</p>'


def _choices(snapshot: Snapshot) -> Iterator[str]:
    for task in snapshot.tasks:
        options = (
            f'<option value="{html.escape(entry.id)}">{escape(label(entry, snapshot))}</option>'
            for entry in snapshot.of_task(task)
        )
        yield f'<optgroup label="{escape(task)}">{"".join(options)}</optgroup>'


def _orders(ranking: Ranking, snapshot: Snapshot) -> dict[str, list[int]]:
    """Column ("-" before it: the largest first) → the places that its rows have in the order of the table."""
    drawn = in_order(lines(ranking, snapshot), View().sort)
    place = {id(line): number for number, line in enumerate(drawn)}
    sorts = [f"{sign}{column}" for column in SORTS for sign in ("", "-")]
    orders = {sort: [place[id(line)] for line in in_order(drawn, sort)] for sort in sorts}
    usual = list(range(len(drawn)))
    return {sort: order for sort, order in orders.items() if order != usual}


def main(arguments: list[str]) -> None:
    folder, origin, file = arguments
    store: Any = Store(lambda: Path(folder), origin, HubFacts())
    store.refresh()
    store.refresh_facts()
    write_atomic(Path(file), page(store.snapshot, origin))


if __name__ == "__main__":
    main(sys.argv[1:])
