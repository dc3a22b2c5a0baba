"""Limits of the server: how much of a request's body is read, and which routes of Gradio stay closed."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing here takes files from anybody but the form of Submit.
_CLOSED = ("/gradio_api/upload", "/upload")


class BodyTooLargeError(Exception):
    """Raised where a body is read beyond the limit."""


class Limits:
    """Middleware that stops a request whose body is longer than `max_body` bytes, whether or not it says its length."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self._app, self._max_body = app, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].rstrip("/").endswith(_CLOSED):
            await PlainTextResponse("This leaderboard takes no files here.", 404)(scope, receive, send)
            return
        read, has_answered = 0, False

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_body:
                raise BodyTooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            await send(message)

        try:
            await self._app(scope, limited, noted)
        except BodyTooLargeError:
            if not has_answered:
                words = f"The body is longer than the {self._max_body:,} bytes that are read."
                await PlainTextResponse(words, 413)(scope, receive, send)
