"""Requests that are too large end before they fill memory or disk."""

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: answers 413 to a request whose body is longer than it may be.

    Gradio limits each file of an upload, and nothing else: not the number of files, and not the JSON of a call.
    A declared length is believed; a body without one is counted as it comes.

    Args:
        app: what handles the requests that pass.
        max_upload_bytes: of a request that uploads files.
        max_call_bytes: of any other request.
    """

    def __init__(self, app: Callable, max_upload_bytes: int, max_call_bytes: int = 1_000_000):
        self.app = app
        self.max_upload_bytes = max_upload_bytes
        self.max_call_bytes = max_call_bytes

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        upload = scope["path"].rstrip("/").endswith("/upload")
        allowed = self.max_upload_bytes if upload else self.max_call_bytes
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > allowed:
            await _refuse(send, allowed)
            return
        received, started = 0, False

        async def counted() -> dict[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > allowed:
                raise _TooLarge
            return message

        async def noted(message: dict[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _TooLarge:
            if not started:
                await _refuse(send, allowed)


class _TooLarge(Exception):
    """More has come than is allowed."""


async def _refuse(send: Send, allowed: int) -> None:
    text = f"This page takes up to {allowed / 1e6:g} MB at once.".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": text})
