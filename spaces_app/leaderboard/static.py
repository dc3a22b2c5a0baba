"""The leaderboard as files for a static host: a page, and a file per view, which the page fetches.

The files of views are compressed, and the browser unpacks them, because not every host compresses files.

    python -m leaderboard.static RESULTS ORIGIN FOLDER

reads the results dataset ORIGIN from the folder RESULTS, and writes the files into FOLDER.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_emms.cache.files import write_atomic
from leaderboard import page, render
from leaderboard.facts import HubFacts
from leaderboard.lines import places
from leaderboard.markup import escape, view_link
from leaderboard.render import Shown
from leaderboard.selection import COSTS, SCOPES, SIZES, TABS, View, label, to_query
from leaderboard.store import Snapshot, Store

_NAMES = ("home", "rankings", "across", "cost", "about")
_ALL_ROWS = 10**6
_HEAT_MAP_ROWS = 100
_BAR = """<form id="emms-form" role="search"><div class="pickers">
<div><label for="emms-ranking">Dataset</label><select name="ranking" id="emms-ranking">{choices}</select></div>
<div><label for="emms-q">Search</label>
<input type="search" name="q" id="emms-q" placeholder="part of a name, or a | b" autocomplete="off"></div>
</div></form>"""
_ELSEWHERE = (
    '<p class="small">Comparisons, pickers for filters, a shortlist for your limits and submissions: '
    "<code>hf-emms leaderboard --results {origin}</code></p>"
)


def files(snapshot: Snapshot, repo_id: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file.

    Args:
        snapshot: The rankings.
        repo_id: The results dataset that they come from.
    """
    for view in _views(snapshot):
        shown = render.show(view, snapshot, repo_id=repo_id, sorted_by_browser=True)
        yield _path(view), gzip.compress(_part(shown).encode(), mtime=0)
    first = render.show(View(tab="home"), snapshot, repo_id=repo_id, sorted_by_browser=True)
    names = {name: TABS[name] for name in _NAMES}
    tabs = "".join(view_link(to_query(View(tab=name)), title) for name, title in names.items())
    main = (
        f'<main id="emms" class="no-server" data-query="{html.escape(first.query)}">'
        f'<div class="tabs"><nav aria-label="Views">{tabs}</nav></div>'
        f'<div id="emms-bar">{_BAR.format(choices="".join(_choices(snapshot)))}</div>'
        f'<div id="emms-part">{_content(first)}</div>{_ELSEWHERE.format(origin=escape(repo_id))}</main>'
    )
    rankings = {task: [entry.id for entry in snapshot.of_task(task)] for task in snapshot.tasks}
    data = json.dumps(rankings, separators=(",", ":")).replace("<", "\\u003c")
    more = f'<script type="application/json" id="emms-rankings">{data}</script>'
    sizes = f"window.emmsSizes={json.dumps(SIZES)};\n"
    script = sizes + (page.HERE / "static.js").read_text(encoding="utf-8") + page.SCRIPT
    yield "index.html", page.page(first, main, script=script, more=more).encode()


def _views(snapshot: Snapshot) -> Iterator[View]:
    for entry in snapshot.entries.values():
        here = View(task=entry.ranking.task, ranking=entry.id)
        yield replace(here, rows=_ALL_ROWS)
        yield from (replace(here, tab="cost", cost=cost) for cost in COSTS)
    yield from (View(tab="across", task=task, rows=_HEAT_MAP_ROWS) for task in snapshot.tasks)
    yield View(tab="across", scope="all", rows=_HEAT_MAP_ROWS)
    yield from (View(checkpoint=name) for name in places(snapshot))
    yield View(tab="home")
    yield View(tab="about")


def _path(view: View) -> str:
    """Return the file of a view; static.js makes the same name of its address."""
    if view.checkpoint:
        key = ["checkpoint", view.checkpoint]
    elif view.tab == "across":
        key = ["across", "" if view.scope == "all" else view.task]
    elif view.tab == "cost":
        key = ["cost", view.ranking, view.cost]
    else:
        key = [view.tab, view.ranking]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()
    return f"views/{digest[:16]}.html.gz"


def _part(shown: Shown) -> str:
    return f"<!doctype html><meta charset=utf-8><title>{escape(shown.title)}</title>{_content(shown)}"


def _content(shown: Shown) -> str:
    return (
        f'<div id="emms-answer">{shown.answer}</div>'
        f'<section id="emms-view" tabindex="-1">{_switch(shown.view)}{shown.content}</section>'
    )


def _switch(view: View) -> str:
    """Render links to other drawings of the tab, if there are several."""
    name, choices = {"cost": ("cost", COSTS), "across": ("scope", SCOPES)}.get(view.tab, ("", {}))
    if view.checkpoint or not choices:
        return ""
    here = replace(view, rows=View.rows)
    links = [
        f"<strong>{text}</strong>"
        if getattr(view, name) == choice
        else view_link(to_query(replace(here, **{name: choice})), text)
        for choice, text in choices.items()
    ]
    return f'<p class="small">{" · ".join(links)}</p>'


def _choices(snapshot: Snapshot) -> Iterator[str]:
    for task in snapshot.tasks:
        options = (
            f'<option value="{html.escape(entry.id)}">{escape(label(entry, snapshot))}</option>'
            for entry in snapshot.of_task(task)
        )
        yield f'<optgroup label="{escape(task)}">{"".join(options)}</optgroup>'


def main(arguments: list[str]) -> None:
    results, origin, folder = arguments
    store: Any = Store(lambda: Path(results), origin, HubFacts())
    store.refresh()
    store.refresh_facts()
    for name, content in files(store.snapshot, origin):
        write_atomic(Path(folder) / name, content)


if __name__ == "__main__":
    main(sys.argv[1:])
