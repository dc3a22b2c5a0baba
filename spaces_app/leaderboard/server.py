"""The pages over HTTP. Every view has an address, and every endpoint also answers in plain JSON.

`app` serves the pages alone, on this machine. The Space adds the same routes to Gradio's server (app.py).
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from leaderboard import json_api, page, render, submit, table
from leaderboard.facts import HubFacts
from leaderboard.limits import BodyTooLargeError, Limits
from leaderboard.markup import draw
from leaderboard.selection import View, from_query, resolved
from leaderboard.store import Snapshot, Store
from leaderboard.submit import MAX_BYTES

REFRESH_SECONDS = 300.0
_CACHED_PAGES = 500
_LEVEL = 6
# Enough for a form with a file of the largest size.
_MAX_BODY = 2 * MAX_BYTES + 10_000
_MEDIA = {"csv": "text/csv", "json": "application/json"}

MIDDLEWARE = (Middleware(Limits, max_body=_MAX_BODY), Middleware(GZipMiddleware, compresslevel=_LEVEL))


class Pages:
    """Answer requests for the pages and files of a store, and cache the last pages.

    Args:
        store: The rankings.
        repo_id: The results dataset for submissions; "" for none.
    """

    def __init__(self, store: Store, repo_id: str = "") -> None:
        self.store, self.repo_id = store, repo_id
        self._drawn = lru_cache(_CACHED_PAGES)(self._draw)

    def routes(self) -> list[Route]:
        """Return the routes of all pages, files and JSON endpoints."""
        return [
            Route("/", self._page),
            Route("/", self._submitted, methods=["POST"]),
            Route("/view", self._part),
            Route("/answer", self._answer),
            Route("/export", self._export),
            json_api.route(self.store),
        ]

    def _page(self, request: Request) -> Response:
        return self._view(request, "page")

    def _part(self, request: Request) -> Response:
        return self._view(request, "part")

    def _answer(self, request: Request) -> Response:
        """Answer with the two parts of a ranking's page that a filter changes: the answer and the plot."""
        return HTMLResponse(render.answer_and_plot(from_query(request.url.query), self.store.snapshot))

    def _view(self, request: Request, kind: str) -> Response:
        """Answer with a page, or with the "part" of it that changes with the view."""
        view = from_query(request.url.query)
        if view.tab == "submit":
            return HTMLResponse(self._with_form(kind=kind))
        compressed, exists = self._drawn(kind, view, self.store.snapshot.version)
        status = 200 if exists or kind == "part" else 404
        headers = {"cache-control": "no-cache", "vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return HTMLResponse(compressed, status, headers | {"content-encoding": "gzip"})
        return HTMLResponse(gzip.decompress(compressed), status, headers)

    def _draw(self, kind: str, view: View, version: int) -> tuple[bytes, bool]:
        """Render and compress a view, and return whether it exists. `version` distinguishes the pages in the cache."""
        snapshot = self.store.snapshot
        shown = render.show(view, snapshot, repo_id=self.repo_id)
        return gzip.compress(self._html(kind, shown, snapshot).encode(), _LEVEL, mtime=0), shown.exists

    def _with_form(self, pasted: str = "", result: str = "", *, kind: str = "page") -> str:
        """Render the tab Submit."""
        snapshot = self.store.snapshot
        shown = render.show(View(tab="submit"), snapshot, repo_id=self.repo_id)
        return self._html(kind, shown, snapshot, submit.form(pasted, result))

    def _html(self, kind: str, shown: render.Shown, snapshot: Snapshot, content: str = "") -> str:
        main = page.main_part(shown, snapshot, content=content)
        return draw("part.html", title=shown.title, main=main) if kind == "part" else page.page(shown, main)

    def _export(self, request: Request) -> Response:
        """Answer with a file that contains the rows of a view."""
        snapshot, kind = self.store.snapshot, request.query_params.get("kind", "csv")
        view, entry = resolved(from_query(request.url.query), snapshot)
        if entry is None or kind not in _MEDIA:
            return PlainTextResponse("Ranking not found.", 404)
        write = table.to_json if kind == "json" else table.to_csv
        text = write(view, entry.ranking, snapshot)
        name = "".join(char if char.isascii() and char.isalnum() else "-" for char in entry.ranking.dataset)
        file = f'attachment; filename="emms-{name}.{kind}"'
        headers = {"content-disposition": file, "x-content-type-options": "nosniff"}
        return Response(text, headers=headers, media_type=_MEDIA[kind])

    async def _submitted(self, request: Request) -> Response:
        try:
            async with request.form(max_files=1, max_fields=10, max_part_size=_MAX_BODY) as form:
                uploaded = form.get("file")
                file = await uploaded.read() if uploaded is not None and not isinstance(uploaded, str) else b""
                pasted = str(form.get("pasted") or "")
        except BodyTooLargeError:
            result = submit.refused(f"the ranking exceeds the limit of {MAX_BYTES / 1e6:.0f} MB")
            return HTMLResponse(self._with_form(result=result), 413)
        result = await run_in_threadpool(submit.checked_in_words, file or pasted, self.repo_id)
        return HTMLResponse(self._with_form(pasted, result))


def app(pages: Pages) -> Starlette:
    """Return the application that serves the pages without Gradio."""
    return Starlette(routes=pages.routes(), middleware=MIDDLEWARE)


def pages_of(environment: Mapping[str, str]) -> Pages:
    """Return the pages of the rankings that the environment names, and keep them fresh.

    Args:
        environment: EMMS_RESULTS_REPO, EMMS_RESULTS and EMMS_REFRESH_SECONDS, see the README of the Space.
    """
    repo_id, folder = environment.get("EMMS_RESULTS_REPO", ""), environment.get("EMMS_RESULTS", "")
    if folder or not repo_id:
        path = Path(folder or Path(__file__).parents[1] / "results")
        store = Store(path, path.name)
        store.refresh()  # Gradio does not start if the first page takes seconds.
    else:
        store = Store(lambda: _downloaded(repo_id), repo_id, HubFacts())
        store.keep_fresh(float(environment.get("EMMS_REFRESH_SECONDS") or REFRESH_SECONDS))
    return Pages(store, repo_id)


def _downloaded(repo_id: str) -> Path:
    """Download the latest files of a results dataset, and return their folder."""
    from huggingface_hub import HfApi, errors, snapshot_download

    try:  # without this check snapshot_download would silently return its last copy
        revision = HfApi().dataset_info(repo_id).sha
    except errors.HTTPError as error:
        raise ConnectionError(f"the Hub cannot be reached: {type(error).__name__}") from error
    return Path(snapshot_download(repo_id, repo_type="dataset", revision=revision, allow_patterns="rankings/*.json"))
