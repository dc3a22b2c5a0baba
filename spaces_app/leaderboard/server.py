"""The server: pages, of which every view has an address, and endpoints for programs and agents."""

from __future__ import annotations

import gzip
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from gradio import Server
from gradio.oauth import attach_oauth
from starlette.concurrency import run_in_threadpool

from leaderboard import page, render, submit_page, table
from leaderboard.endpoints import ENDPOINTS, Endpoints
from leaderboard.limits import BodyTooLargeError, Limits
from leaderboard.markup import draw
from leaderboard.selection import View, from_query, resolved
from leaderboard.store import LOOK_SECONDS, Snapshot, Store
from leaderboard.submit import MAX_BYTES

_MAX_POLL_SECONDS = 15.0
_MAX_CACHED_BYTES = 32_000_000
# Enough for a form with a file of the largest size.
_MAX_BODY = 2 * MAX_BYTES + 10_000
_HTML = "text/html; charset=utf-8"
_MEDIA = {"csv": "text/csv", "tsv": "text/tab-separated-values", "json": "application/json"}


@dataclass(frozen=True)
class Drawn:
    """A compressed page, and whether the requested ranking, task or checkpoint exists."""

    content: bytes
    exists: bool


class Pages:
    """Render and cache the pages of a store.

    Args:
        store: The rankings.
        repo_id: The results dataset for submissions; "" for none.
        sign_in: Whether users can sign in to the Hub.
        every: Seconds between two refreshes of a results dataset.

    Attributes:
        cached_bytes: Size of the cached pages.
    """

    def __init__(self, store: Store, repo_id: str = "", *, sign_in: bool = False, every: float = 300.0) -> None:
        self.store, self.repo_id, self.sign_in = store, repo_id, sign_in
        self._every = LOOK_SECONDS if store.is_local else min(every, _MAX_POLL_SECONDS)
        self._cache: OrderedDict[tuple[str, View, int], Drawn] = OrderedDict()
        self.cached_bytes = 0
        self._cache_lock = threading.Lock()

    def drawn(self, kind: str, query: str) -> Callable[[], Drawn] | Drawn:
        """Return a cached page ("page") or its changing part ("part"), or the function that renders it."""
        snapshot = self.store.snapshot
        view = from_query(query)
        key = (kind, view, snapshot.version)
        with self._cache_lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]

        def draw() -> Drawn:
            shown = render.show(view, snapshot, repo_id=self.repo_id)
            drawn = Drawn(gzip.compress(self._html(kind, shown, snapshot).encode(), 6, mtime=0), shown.exists)
            with self._cache_lock:
                replaced = self._cache.pop(key, None)
                self._cache[key] = drawn
                self.cached_bytes += len(drawn.content) - (len(replaced.content) if replaced else 0)
                while self.cached_bytes > _MAX_CACHED_BYTES:
                    self.cached_bytes -= len(self._cache.popitem(last=False)[1].content)
            return drawn

        return draw

    def with_form(self, user: str | None, pasted: str = "", result: str = "", *, kind: str = "page") -> str:
        """Render the tab Submit, which differs between users."""
        form = submit_page.form(self.repo_id, sign_in=self.sign_in, user=user, pasted=pasted, result=result)
        snapshot = self.store.snapshot
        return self._html(kind, render.show(View(tab="submit"), snapshot, repo_id=self.repo_id), snapshot, form)

    def _html(self, kind: str, shown: render.Shown, snapshot: Snapshot, content: str = "") -> str:
        main = page.main_part(shown, snapshot, content=content, every=self._every)
        return draw("part.html", title=shown.title, main=main) if kind == "part" else page.page(shown, main)

    def export(self, query: str, kind: str) -> tuple[str, str] | None:
        """Return name and content of a file with the rows of a view, or None if the ranking does not exist."""
        snapshot = self.store.snapshot
        view, entry = resolved(from_query(query), snapshot)
        if entry is None or kind not in _MEDIA:
            return None
        if kind == "json":
            text = table.to_json(view, entry.ranking, snapshot)
        else:
            text = table.to_csv(view, entry.ranking, snapshot, "\t" if kind == "tsv" else ",")
        name = "".join(char if char.isascii() and char.isalnum() else "-" for char in entry.ranking.dataset)
        return f"emms-{name}.{kind}", text


class _Routes:
    """The routes of pages and files."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def whole_page(self, request: Request) -> Response:
        return await self._view(request, "page")

    async def part_of_page(self, request: Request) -> Response:
        return await self._view(request, "part")

    async def _view(self, request: Request, kind: str) -> Response:
        query = request.url.query
        if from_query(query).tab == "submit":
            return HTMLResponse(self._pages.with_form(_user(request), kind=kind))
        drawn = self._pages.drawn(kind, query)
        if not isinstance(drawn, Drawn):
            drawn = await run_in_threadpool(drawn)
        content, headers = drawn.content, {"content-encoding": "gzip", "vary": "accept-encoding"}
        if "gzip" not in request.headers.get("accept-encoding", ""):
            content, headers = gzip.decompress(content), {}
        status = 200 if drawn.exists or kind == "part" else 404
        return Response(content, status, headers | {"cache-control": "no-cache"}, _HTML)

    async def version(self) -> Response:
        return PlainTextResponse(str(self._pages.store.snapshot.version), headers={"cache-control": "no-store"})

    def export(self, request: Request) -> Response:
        kind = request.query_params.get("kind", "csv")
        file = self._pages.export(request.url.query, kind)
        if file is None:
            return PlainTextResponse("Ranking not found.", 404)
        name, text = file
        headers = {"content-disposition": f'attachment; filename="{name}"', "x-content-type-options": "nosniff"}
        return Response(text, headers=headers, media_type=_MEDIA[kind])

    async def submitted(self, request: Request) -> Response:
        pages = self._pages
        try:
            async with request.form(max_files=1, max_fields=10, max_part_size=_MAX_BODY) as form:
                uploaded = form.get("file")
                file = await uploaded.read() if uploaded is not None and not isinstance(uploaded, str) else b""
                pasted = str(form.get("pasted") or "")
                proposes = "propose" in form
        except BodyTooLargeError:
            result = submit_page.refused(f"the ranking exceeds the limit of {MAX_BYTES / 1e6:.0f} MB")
            return HTMLResponse(pages.with_form(_user(request), result=result), 413)
        content = file or pasted
        if not proposes:
            work = (submit_page.checked_in_words, content, pages.repo_id)
        else:
            # Other sites must not open pull requests in the name of a signed-in user.
            is_ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
            work = (submit_page.proposed, content, pages.repo_id, _token(request) if is_ours else None)
        result = await run_in_threadpool(*work)
        return HTMLResponse(pages.with_form(_user(request), pasted, result))


def serve(pages: Pages) -> Server:
    """Build the server; `launch` starts it."""
    server, routes = Server(title="EMMS leaderboard", docs_url=None, redoc_url=None, openapi_url=None), _Routes(pages)
    server.add_middleware(Limits, max_body=_MAX_BODY)
    endpoints = Endpoints(pages.store)
    for name in ENDPOINTS:
        server.api(getattr(endpoints, name), name=name)
    if pages.sign_in:
        attach_oauth(server)
    server.get("/")(routes.whole_page)
    server.get("/view")(routes.part_of_page)
    server.get("/version")(routes.version)
    server.get("/export")(routes.export)
    server.post("/")(routes.submitted)
    return server


def _signed_in(request: Request) -> dict[str, Any]:
    """Return the session of Gradio's sign-in; empty if the user is not signed in."""
    from gradio.oauth import _get_valid_oauth_info_from_session

    session = request.scope.get("session")
    return (_get_valid_oauth_info_from_session(session) if session else None) or {}


def _user(request: Request) -> str | None:
    return _signed_in(request).get("userinfo", {}).get("preferred_username")


def _token(request: Request) -> str | None:
    return _signed_in(request).get("access_token")
