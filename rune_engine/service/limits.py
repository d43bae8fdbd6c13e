"""ASGI middleware at the door: requests are counted, and bodies have a largest size.

Knows nothing of what the requests ask.
"""

from __future__ import annotations

import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8 * 1024 * 1024
_TOO_LARGE = f"The request is larger than {MAX_BODY_BYTES // 1024**2} MiB."


class BodyLimit:
    """Refuses bodies over `MAX_BODY_BYTES` without holding more than that in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES or _announced(scope) > MAX_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE)
            return message

        await self._app(scope, limited, send)


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


class Activity:
    """How many requests are in flight, and since when nothing has happened.

    Looking on is something that happens, too, but only who asks for something is using Rune.
    """

    def __init__(self) -> None:
        self._in_flight = 0
        self._last = self._asked = time.monotonic()

    def touch(self) -> None:
        self._last = time.monotonic()

    def asked(self) -> None:
        """Say that somebody asked for something, or got it."""
        self._asked = time.monotonic()

    def quiet_seconds(self) -> float:
        """Seconds since somebody asked for something."""
        return time.monotonic() - self._asked

    def idle_seconds(self) -> float:
        """Seconds since the last request ended; 0 while one is in flight."""
        return 0.0 if self._in_flight else time.monotonic() - self._last

    def begin(self) -> None:
        self._in_flight += 1

    def end(self, method: str) -> None:
        self._in_flight -= 1
        self.touch()
        if method != "GET":
            self.asked()


class CountRequests:
    """Tells an `Activity` of every request, but those for paths that do not count."""

    def __init__(
        self, app: ASGIApp, activity: Activity, uncounted: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._activity = activity
        self._uncounted = uncounted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") in self._uncounted:
            await self._app(scope, receive, send)
            return
        self._activity.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.end(scope.get("method", "GET"))
