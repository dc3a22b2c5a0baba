"""The page before its scripts: the answer and the first rows in the first HTML, and the words of link previews.

Gradio's page is empty until a megabyte of scripts has arrived. What a browser is sent first holds the view of its
address already; page.js removes it when the page itself is there.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from leaderboard import render
from leaderboard.markup import escape
from leaderboard.selection import from_query, title
from leaderboard.store import Store

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ROWS = 20
_PREVIEWS = re.compile(rb"""<meta\s+(?:property|name)="(?:og|twitter):[^>]*>""")
_BODY = re.compile(rb"<body[^>]*>")
_DARK = (
    "<script>{ const theme = new URLSearchParams(location.search).get('__theme');"
    " if (theme ? theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches)"
    " document.getElementById('emms-first').classList.add('dark'); }</script>"
)
_QUESTION = "<h1>Which checkpoint should I fine-tune?</h1>"


class FirstPaint:
    """Middleware that completes the HTML of the page.

    Args:
        app: what serves the page.
        store: the rankings.
        style: the page's CSS.
    """

    def __init__(self, app: ASGIApp, store: Store, style: str) -> None:
        self._app, self._store, self._style = app, store, style

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            whole = self.completed(bytes(body), scope["query_string"].decode("latin-1"))
            headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            await send({**start, "headers": [*headers, (b"content-length", str(len(whole)).encode())]})
            await send({"type": "http.response.body", "body": whole})

        await self._app(scope, receive, collect)

    def completed(self, html: bytes, query: str) -> bytes:
        """The HTML with the view of an address in it."""
        shown = render.show(replace(from_query(query), rows=_ROWS), self._store.snapshot)
        name = escape(title(shown.view, shown.entry))
        words = escape(re.sub("<[^>]*>", "", shown.answer).strip() or "Pretrained checkpoints, ranked for a dataset")
        previews = "".join(
            f'<meta property="{kind}:{what}" content="{text}">'
            for kind in ("og", "twitter")
            for what, text in (("title", name), ("description", words))
        )
        first = (
            f'<style>{self._style}</style><div id="emms-first" aria-busy="true">{_QUESTION}'
            f"{shown.answer}{shown.content}</div>{_DARK}"
        )
        html = _PREVIEWS.sub(b"", html).replace(b"</head>", previews.encode() + b"</head>", 1)
        return _BODY.sub(lambda found: found[0] + first.encode(), html, count=1)
