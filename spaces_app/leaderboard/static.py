"""The leaderboard as files for a static host: a page, and a file per view, which the page fetches.

The files of views are compressed, and the browser unpacks them, because not every host compresses files. The browser
filters and orders the rows, as it does with a server.

    python -m leaderboard.static RESULTS ORIGIN FOLDER

reads the results dataset ORIGIN from the folder RESULTS, and writes the files into FOLDER.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hf_emms.cache.files import write_atomic
from leaderboard import page, render
from leaderboard.cost import known_costs, plot
from leaderboard.facts import HubFacts
from leaderboard.lines import places
from leaderboard.markup import draw
from leaderboard.render import Shown
from leaderboard.selection import View
from leaderboard.store import Snapshot, Store


def files(snapshot: Snapshot, origin: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file; `origin` is the results dataset of the rankings."""

    def shown(view: View) -> tuple[Shown, Markup]:
        rendered = render.show(view, snapshot, repo_id=origin, is_static=True)
        return rendered, page.main_part(rendered, snapshot, origin=origin)

    for view in _views(snapshot):
        rendered, main = shown(view)
        content = draw("part.html", title=rendered.title, main=main)
        yield _path(view), gzip.compress(content.encode(), mtime=0)
    for entry in snapshot.entries.values():
        for name in known_costs(entry.ranking, snapshot):
            view = View(task=entry.ranking.task, ranking=entry.id, cost=name)
            yield _file("plot", entry.id, name), gzip.compress(plot(view, entry.ranking, snapshot).encode(), mtime=0)
    yield _path(None), gzip.compress(draw("static_missing.html").encode(), mtime=0)
    yield "index.html", page.page(*shown(View(tab="home"))).encode()


def _views(snapshot: Snapshot) -> Iterator[View]:
    entries = [*snapshot.entries.values()]
    named = [View(task=entry.ranking.task, ranking=entry.id) for entry in entries]
    # The first ranking of all, and that of each task, also have an address that does not name it.
    first = [View(task=task) for task in snapshot.tasks]
    yield from (*named, *first, *(View() for _ in entries[:1]))
    yield from (View(tab="across", task=task) for task in ("", *snapshot.tasks))
    yield from (View(checkpoint=name) for name in places(snapshot))
    yield View(tab="home")
    yield View(tab="about")


def _path(view: View | None) -> str:
    """Return the file of a view; page.js makes the same name of its address. None is the file for missing views."""
    if view is None:
        key = ["missing"]
    elif view.checkpoint:
        key = ["checkpoint", view.checkpoint]
    elif view.tab == "across":
        key = ["across", view.task]
    else:
        key = [view.tab, view.ranking or view.task]
    return _file(*key)


def _file(*key: str) -> str:
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()
    return f"views/{digest[:16]}.html.gz"


def main(arguments: list[str]) -> None:
    results, origin, folder = arguments
    store: Any = Store(lambda: Path(results), origin, HubFacts())
    store.refresh()
    store.refresh_facts()
    for name, content in files(store.snapshot, origin):
        write_atomic(Path(folder) / name, content)


if __name__ == "__main__":
    main(sys.argv[1:])
