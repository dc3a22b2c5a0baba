"""The pages over HTTP. Every view has an address, and every endpoint also answers in plain JSON.

`app` serves the pages alone, on this machine. The Space adds the same routes to Gradio's server (app.py).
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
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
_CACHED_PAGES = 500
_LEVEL = 6
# Enough for a form with a file of the largest size.
_MAX_BODY = 2 * MAX_BYTES + 10_000
_FOR_AN_HOUR = {"cache-control": "max-age=3600"}
_MEDIA = {"csv": "text/csv", "tsv": "text/tab-separated-values", "json": "application/json"}

MIDDLEWARE = (Middleware(Limits, max_body=_MAX_BODY), Middleware(GZipMiddleware, compresslevel=_LEVEL))


class Pages:
    """Answer requests for the pages and files of a store, and cache the last pages.

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

    def routes(self) -> list[Route]:
        """Return the routes of all pages, files and JSON endpoints."""
        return [
            Route("/", self._page),
            Route("/", self._submitted, methods=["POST"]),
            Route("/view", self._part),
            Route("/version", self._version),
            Route("/export", self._export),
            Route("/badge.svg", self._badge),
            Route("/preview.png", self._preview),
            json_api.route(self.store),
        ]

    def _page(self, request: Request) -> Response:
        return self._view(request, "page")

    def _part(self, request: Request) -> Response:
        return self._view(request, "part")

    def _view(self, request: Request, kind: str) -> Response:
        """Answer with a page, or with the "part" of it that changes with the view."""
        view = from_query(request.url.query)
        if view.tab == "submit":
            return HTMLResponse(self._with_form(request, kind=kind))
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

    def _with_form(self, request: Request, pasted: str = "", result: str = "", *, kind: str = "page") -> str:
        """Render the tab Submit, which differs between users."""
        user = _signed_in(request).get("userinfo", {}).get("preferred_username")
        form = submit_page.form(self.repo_id, sign_in=self.sign_in, user=user, pasted=pasted, result=result)
        snapshot = self.store.snapshot
        return self._html(kind, render.show(View(tab="submit"), snapshot, repo_id=self.repo_id), snapshot, form)

    def _html(self, kind: str, shown: render.Shown, snapshot: Snapshot, content: str = "") -> str:
        main = page.main_part(shown, snapshot, content=content, every=self._every)
        return draw("part.html", title=shown.title, main=main) if kind == "part" else page.page(shown, main)

    def _version(self, request: Request) -> Response:
        return PlainTextResponse(str(self.store.snapshot.version), headers={"cache-control": "no-store"})

    def _export(self, request: Request) -> Response:
        """Answer with a file that contains the rows of a view."""
        snapshot, kind = self.store.snapshot, request.query_params.get("kind", "csv")
        view, entry = resolved(from_query(request.url.query), snapshot)
        if entry is None or kind not in _MEDIA:
            return PlainTextResponse("Ranking not found.", 404)
        if kind == "json":
            text = table.to_json(view, entry.ranking, snapshot)
        else:
            text = table.to_csv(view, entry.ranking, snapshot, "\t" if kind == "tsv" else ",")
        name = "".join(char if char.isascii() and char.isalnum() else "-" for char in entry.ranking.dataset)
        file = f'attachment; filename="emms-{name}.{kind}"'
        headers = {"content-disposition": file, "x-content-type-options": "nosniff"}
        return Response(text, headers=headers, media_type=_MEDIA[kind])

    def _badge(self, request: Request) -> Response:
        content = pictures.badge(request.url.query, self.store.snapshot)
        if content is None:
            return PlainTextResponse("Ranking or checkpoint not found.", 404)
        return Response(content, headers=_FOR_AN_HOUR, media_type="image/svg+xml")

    def _preview(self, request: Request) -> Response:
        content = pictures.preview(request.url.query, self.store.snapshot)
        return Response(content, headers=_FOR_AN_HOUR, media_type="image/png")

    async def _submitted(self, request: Request) -> Response:
        try:
            async with request.form(max_files=1, max_fields=10, max_part_size=_MAX_BODY) as form:
                uploaded = form.get("file")
                file = await uploaded.read() if uploaded is not None and not isinstance(uploaded, str) else b""
                pasted = str(form.get("pasted") or "")
                proposes = "propose" in form
        except BodyTooLargeError:
            result = submit_page.refused(f"the ranking exceeds the limit of {MAX_BYTES / 1e6:.0f} MB")
            return HTMLResponse(self._with_form(request, result=result), 413)
        content = file or pasted
        if proposes:
            # Other sites must not open pull requests in the name of a signed-in user.
            is_ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
            token = _signed_in(request).get("access_token") if is_ours else None
            result = await run_in_threadpool(submit_page.proposed, content, self.repo_id, token)
        else:
            result = await run_in_threadpool(submit_page.checked_in_words, content, self.repo_id)
        return HTMLResponse(self._with_form(request, pasted, result))


def app(pages: Pages) -> Starlette:
    """Return the application that serves the pages without Gradio."""
    return Starlette(routes=pages.routes(), middleware=MIDDLEWARE)


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
