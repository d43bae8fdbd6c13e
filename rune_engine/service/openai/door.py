"""Who may come in: the endpoint's own addresses only, and only with the key.

A web page can make a browser send requests to 127.0.0.1, and by DNS rebinding even read the
answers, under a name of its own: so the `Host` header must name this machine. No CORS header is
ever sent. The body of a refused request is never read. Knows nothing of what is asked.
"""

from __future__ import annotations

import hmac
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rune_engine.service.openai.refusals import Refusal, respond

_OURS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class Door:
    """ASGI middleware around everything else of the endpoint."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope))
        await (self._app if refusal is None else respond(refusal))(scope, receive, send)

    def _refusal(self, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _OURS.fullmatch(hosts[0]):
            return Refusal(
                "This endpoint answers to 127.0.0.1 and localhost only.",
                code="host_not_allowed",
                status=403,
            )
        shown = _BEARER.fullmatch(headers.get("authorization", ""))
        if shown is None or not hmac.compare_digest(shown[1].encode("latin-1"), self._key):
            return Refusal(
                "Incorrect API key. `rune serve` shows this home's key.",
                code="invalid_api_key",
                status=401,
            )
        return None
