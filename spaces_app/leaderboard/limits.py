"""Limits of the server: the size of a request body, and closed routes of Gradio."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Only the form of the tab Submit accepts files.
_CLOSED = ("/gradio_api/upload", "/upload")


class BodyTooLargeError(Exception):
    """Raised if a body exceeds the limit."""


class Limits:
    """Middleware that rejects requests whose body exceeds `max_body` bytes, with or without a Content-Length."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self._app, self._max_body = app, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].rstrip("/").endswith(_CLOSED):
            await PlainTextResponse("This address does not accept files.", 404)(scope, receive, send)
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
                words = f"The request body exceeds the limit of {self._max_body:,} bytes."
                await PlainTextResponse(words, 413)(scope, receive, send)
