"""The leaderboard as files for a static host: a page, and a file per view, which the page fetches.

The files of views are compressed, and the browser unpacks them, because not every host compresses files.

    python -m leaderboard.static RESULTS ORIGIN FOLDER

reads the results dataset ORIGIN from the folder RESULTS, and writes the files into FOLDER.
"""

from __future__ import annotations

import gzip
import hashlib
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
from leaderboard.markup import draw
from leaderboard.selection import COSTS, SCOPES, SIZES, TABS, View, label, to_query
from leaderboard.store import Snapshot, Store

_NAMES = ("home", "rankings", "across", "cost", "about")
_ALL_ROWS = 10**6
_HEAT_MAP_ROWS = 100


def files(snapshot: Snapshot, repo_id: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file.

    Args:
        snapshot: The rankings.
        repo_id: The results dataset that they come from.
    """
    for view in _views(snapshot):
        shown = render.show(view, snapshot, repo_id=repo_id, sorted_by_browser=True)
        part = draw("static_part.html", shown=shown, switch=_switch(view))
        yield _path(view), gzip.compress(part.encode(), mtime=0)
    first = render.show(View(tab="home"), snapshot, repo_id=repo_id, sorted_by_browser=True)
    by_task = {task: snapshot.of_task(task) for task in snapshot.tasks}
    main = draw(
        "static_main.html",
        shown=first,
        tabs={TABS[name]: to_query(View(tab=name)) for name in _NAMES},
        choices={
            task: {entry.id: label(entry, snapshot) for entry in snapshot.of_task(task)} for task in snapshot.tasks
        },
        origin=repo_id,
    )
    rankings = {task: [entry.id for entry in some] for task, some in by_task.items()}
    more = draw("static_rankings.html", rankings=rankings)
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


def _switch(view: View) -> dict[str, str]:
    """Return the queries of the drawings of the tab, "" for the shown one; empty if there is only one."""
    name, choices = {"cost": ("cost", COSTS), "across": ("scope", SCOPES)}.get(view.tab, ("", {}))
    if view.checkpoint:
        return {}
    here = replace(view, rows=View.rows)
    return {
        text: "" if getattr(view, name) == choice else to_query(replace(here, **{name: choice}))
        for choice, text in choices.items()
    }


def main(arguments: list[str]) -> None:
    results, origin, folder = arguments
    store: Any = Store(lambda: Path(results), origin, HubFacts())
    store.refresh()
    store.refresh_facts()
    for name, content in files(store.snapshot, origin):
        write_atomic(Path(folder) / name, content)


if __name__ == "__main__":
    main(sys.argv[1:])
