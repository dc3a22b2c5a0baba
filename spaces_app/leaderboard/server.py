"""The pages over HTTP. Every view has an address, and every endpoint also answers in plain JSON.

`app` serves the pages alone, on this machine. The Space adds the same routes to Gradio's server (app.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from leaderboard import json_api, page, pictures, render, submit_page, table
from leaderboard.facts import HubFacts
from leaderboard.limits import BodyTooLargeError, Limits
from leaderboard.markup import draw
from leaderboard.selection import View, from_query, resolved
from leaderboard.store import LOOK_SECONDS, Snapshot, Store
from leaderboard.submit import MAX_BYTES

REFRESH_SECONDS = 300.0
_MAX_POLL_SECONDS = 15.0
_CACHED_PAGES = 64
# Enough for a form with a file of the largest size.
_MAX_BODY = 2 * MAX_BYTES + 10_000
_FOR_AN_HOUR = {"cache-control": "max-age=3600"}
_MEDIA = {"csv": "text/csv", "tsv": "text/tab-separated-values", "json": "application/json"}

MIDDLEWARE = (Middleware(Limits, max_body=_MAX_BODY), Middleware(GZipMiddleware, compresslevel=6))


@dataclass(frozen=True)
class Drawn:
    """A page, and whether the requested ranking, task or checkpoint exists."""

    content: bytes
    exists: bool


class Pages:
    """Render the pages of a store, and cache the last ones.

    Args:
        store: The rankings.
        repo_id: The results dataset for submissions; "" for none.
        sign_in: Whether users can sign in to the Hub.
        every: Seconds between two refreshes of a results dataset.
    """

    def __init__(
        self, store: Store, repo_id: str = "", *, sign_in: bool = False, every: float = REFRESH_SECONDS
    ) -> None:
        self.store, self.repo_id, self.sign_in = store, repo_id, sign_in
        self._every = LOOK_SECONDS if store.is_local else min(every, _MAX_POLL_SECONDS)
        self._drawn = lru_cache(_CACHED_PAGES)(self._draw)

    def drawn(self, kind: str, query: str) -> Drawn:
        """Return a page ("page"), or the part of it that changes with the view ("part")."""
        return self._drawn(kind, from_query(query), self.store.snapshot.version)

    def _draw(self, kind: str, view: View, version: int) -> Drawn:
        """Render a page; `version` distinguishes the pages in the cache."""
        snapshot = self.store.snapshot
        shown = render.show(view, snapshot, repo_id=self.repo_id)
        return Drawn(self._html(kind, shown, snapshot).encode(), shown.exists)

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
    """The functions that answer the requests for pages and files."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def whole_page(self, request: Request) -> Response:
        return self._view(request, "page")

    def part_of_page(self, request: Request) -> Response:
        return self._view(request, "part")

    def _view(self, request: Request, kind: str) -> Response:
        query = request.url.query
        if from_query(query).tab == "submit":
            return HTMLResponse(self._pages.with_form(_user(request), kind=kind))
        drawn = self._pages.drawn(kind, query)
        status = 200 if drawn.exists or kind == "part" else 404
        return HTMLResponse(drawn.content, status, {"cache-control": "no-cache"})

    def version(self, request: Request) -> Response:
        return PlainTextResponse(str(self._pages.store.snapshot.version), headers={"cache-control": "no-store"})

    def badge(self, request: Request) -> Response:
        content = pictures.badge(request.url.query, self._pages.store.snapshot)
        if content is None:
            return PlainTextResponse("Ranking or checkpoint not found.", 404)
        return Response(content, headers=_FOR_AN_HOUR, media_type="image/svg+xml")

    def preview(self, request: Request) -> Response:
        content = pictures.preview(request.url.query, self._pages.store.snapshot)
        return Response(content, headers=_FOR_AN_HOUR, media_type="image/png")

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


def routes(pages: Pages) -> list[Route]:
    """Return the routes of all pages, files and JSON endpoints."""
    functions = _Routes(pages)
    return [
        Route("/", functions.whole_page),
        Route("/", functions.submitted, methods=["POST"]),
        Route("/view", functions.part_of_page),
        Route("/version", functions.version),
        Route("/export", functions.export),
        Route("/badge.svg", functions.badge),
        Route("/preview.png", functions.preview),
        json_api.route(pages.store),
    ]


def app(pages: Pages) -> Starlette:
    """Return the application that serves the pages without Gradio."""
    return Starlette(routes=routes(pages), middleware=MIDDLEWARE)


def pages_of(environment: Mapping[str, str], *, sign_in: bool = False) -> Pages:
    """Return the pages of the rankings that the environment names, and keep them fresh.

    Args:
        environment: EMMS_RESULTS_REPO, EMMS_RESULTS and EMMS_REFRESH_SECONDS, see the README of the Space.
        sign_in: Whether users can sign in to the Hub.
    """
    repo_id, folder = environment.get("EMMS_RESULTS_REPO", ""), environment.get("EMMS_RESULTS", "")
    every = float(environment.get("EMMS_REFRESH_SECONDS") or REFRESH_SECONDS)
    if folder or not repo_id:
        path = Path(folder or Path(__file__).parents[1] / "results")
        store = Store(path, path.name)
        store.refresh()  # Gradio does not start if the first page takes seconds.
    else:
        store = Store(lambda: _downloaded(repo_id), repo_id, HubFacts())
        store.keep_fresh(every)
    return Pages(store, repo_id, sign_in=sign_in, every=every)


def _downloaded(repo_id: str) -> Path:
    """Download the latest files of a results dataset, and return their folder."""
    from huggingface_hub import HfApi, errors, snapshot_download

    try:  # without this check snapshot_download would silently return its last copy
        revision = HfApi().dataset_info(repo_id).sha
    except errors.HTTPError as error:
        raise ConnectionError(f"the Hub cannot be reached: {type(error).__name__}") from error
    return Path(snapshot_download(repo_id, repo_type="dataset", revision=revision, allow_patterns="rankings/*.json"))


def _signed_in(request: Request) -> dict[str, Any]:
    """Return the session of Gradio's sign-in; empty if the user is not signed in."""
    session = request.scope.get("session")
    if not session:
        return {}
    from gradio.oauth import _get_valid_oauth_info_from_session

    return _get_valid_oauth_info_from_session(session) or {}


def _user(request: Request) -> str | None:
    return _signed_in(request).get("userinfo", {}).get("preferred_username")


def _token(request: Request) -> str | None:
    return _signed_in(request).get("access_token")
