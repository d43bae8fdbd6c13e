"""Who may come in over HTTP: this machine's own names only, and only with the token.

A web page can make a browser send requests to 127.0.0.1, and by DNS rebinding even read the
answers: so `Host` must name this machine (421) and `Origin`, where a browser sends one, must be a
page of this machine (403). No CORS header is ever sent, and the body of a refused request is never
read. Knows nothing of what is asked.

The rules are those of the MCP specification, 2025-11-25 and 2026-07-28, "Streamable HTTP".
"""

from __future__ import annotations

import hmac
import re
from typing import NamedTuple

import pydantic_core
from mcp.types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/mcp"

_OURS = r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?"
_HOST = re.compile(_OURS, re.IGNORECASE)
_ORIGIN = re.compile(rf"https?://{_OURS}", re.IGNORECASE)
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class Refusal(NamedTuple):
    """Why a request does not come in."""

    status: int
    message: str
    challenge: str | None = None


class Door:
    """ASGI middleware around everything else of the server."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        await (self._app if refusal is None else respond(refusal))(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            return Refusal(421, "This server answers to 127.0.0.1 and localhost only.")
        if not all(_ORIGIN.fullmatch(origin) for origin in headers.getlist("origin")):
            return Refusal(403, "Only pages of this machine may send requests here.")
        if path != PATH:
            return Refusal(404, f"MCP is spoken at {PATH}.")
        return self._without_token(headers.get("authorization"))

    def _without_token(self, authorization: str | None) -> Refusal | None:
        """The challenge follows RFC 6750, section 3: no error is named where nothing was shown."""
        if authorization is None:
            return Refusal(401, f"A token is needed. {_WHERE}", 'Bearer realm="rune"')
        shown = _BEARER.fullmatch(authorization)
        if shown is None or not hmac.compare_digest(shown[1].encode("latin-1"), self._token):
            challenge = 'Bearer realm="rune", error="invalid_token"'
            return Refusal(401, f"That is not this home's token. {_WHERE}", challenge)
        return None


_WHERE = "`rune-mcp --show-token` shows it; send it as `Authorization: Bearer TOKEN`."


def respond(refusal: Refusal) -> Response:
    """The refusal as the specification wants it: a JSON-RPC error that answers no id."""
    error = {"code": INVALID_REQUEST, "message": refusal.message}
    return Response(
        pydantic_core.to_json({"jsonrpc": "2.0", "id": None, "error": error}),
        status_code=refusal.status,
        media_type="application/json",
        headers={} if refusal.challenge is None else {"WWW-Authenticate": refusal.challenge},
    )
