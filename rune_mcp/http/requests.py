"""The requests in flight, so that all of them can be ended before the process does.

An open stream never ends by itself, and a call that waits for a job must still tell the engine to
cancel it. Knows nothing of MCP.
"""

from __future__ import annotations

import anyio
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Requests:
    """ASGI middleware around everything else of the server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[anyio.CancelScope] = set()
        self._ending = False
        self._none_left = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Response(send)
        if self._ending:
            await _LEAVING(scope, receive, send)
            return
        with anyio.CancelScope() as request:
            self._open.add(request)
            try:
                await self._app(scope, receive, response.send)
            finally:
                self._open.discard(request)
                if self._ending and not self._open:
                    self._none_left.set()
        if request.cancelled_caught:
            await response.finish(scope, receive)

    async def end(self) -> None:
        """Cancel every request, refuse new ones, and wait until none is left."""
        self._ending = True
        for request in self._open:
            request.cancel()
        if self._open:
            await self._none_left.wait()


class _Response:
    """What of a response has been sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = self._finished = False

    async def send(self, message: Message) -> None:
        self._started = True
        if message["type"] == "http.response.body":
            self._finished = not message.get("more_body", False)
        await self._send(message)

    async def finish(self, scope: Scope, receive: Receive) -> None:
        """End the response of a cancelled request as HTTP wants it: a stream closes."""
        if not self._started:
            await _LEAVING(scope, receive, self._send)
        elif not self._finished:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


_LEAVING = PlainTextResponse("The server is ending.", status_code=503)
