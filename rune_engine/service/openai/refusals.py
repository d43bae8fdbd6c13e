"""Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`.

The status decides what a client does: the SDKs repeat a request at 408, 409, 429 and from 500 on,
so what would fail again is a 400, or says `x-should-retry: false`.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from rune_engine.errors import (
    AdapterForgottenError,
    ConflictError,
    ContextTooLongError,
    InvalidInputError,
    NotFoundError,
    RuneError,
)

log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = "2"
_SHOWN_MESSAGE_CHARS = 500
_NOT_HERE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


class Refusal(HTTPException):
    """A request that this endpoint does not accept, and which of its parameters is to blame."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        headers = None
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            headers = {"retry-after": _RETRY_AFTER_SECONDS}
        elif status == HTTPStatus.UNAUTHORIZED:
            headers = {"www-authenticate": "Bearer"}
        super().__init__(status, message, headers)
        self.param = param
        self.code = code


def no_such_model(model: str) -> Refusal:
    """The model that was asked for is not here."""
    return Refusal(
        f'The model {model[:200]!r} does not exist. Use "rune" (the router chooses), '
        '"rune@PROJECT", "rune:ADAPTER" or "rune:base"; GET /v1/models lists them.',
        param="model",
        code="model_not_found",
        status=404,
    )


def refusal_of(error: Exception) -> Refusal:
    """Any error as a refusal."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ValidationError):
        return _of_validation(error)
    if isinstance(error, RuneError):
        return _of_rune(error)
    if isinstance(error, HTTPException):
        return Refusal(str(error.detail), status=error.status_code)
    log.error("A request to the OpenAI endpoint failed", exc_info=error)
    return Refusal(
        f"Rune failed over this request with {type(error).__name__}; its log has the details.",
        code="rune_error",
        status=500,
    )


def _of_rune(error: RuneError) -> Refusal:
    if isinstance(error, ContextTooLongError):
        return Refusal(str(error), param="messages", code="context_length_exceeded")
    if isinstance(error, NotFoundError | AdapterForgottenError):
        return Refusal(str(error), param="model", code="model_not_found", status=404)
    if isinstance(error, InvalidInputError | ConflictError):
        return Refusal(str(error), code=error.code)
    return Refusal(str(error), code=error.code, status=503 if error.retryable else 500)


def _of_validation(error: ValidationError) -> Refusal:
    """The first wrong field, and what is wrong with it; never its value."""
    first = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"])[:_SHOWN_MESSAGE_CHARS]
    message = str(first["msg"])[:_SHOWN_MESSAGE_CHARS]
    return Refusal(f"Invalid request: {param or 'body'}: {message}.", param=param or None)


def envelope(refusal: Refusal) -> dict[str, Any]:
    """A refusal as the body of an answer, or as one event of a stream."""
    return {
        "error": {
            "message": refusal.detail,
            "type": _type(refusal.status_code),
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def respond(refusal: Refusal) -> JSONResponse:
    """A refusal as a whole answer."""
    response = JSONResponse(envelope(refusal), refusal.status_code, refusal.headers)
    if refusal.status_code >= 500 and refusal.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["x-should-retry"] = "false"
    return response


async def handle(request: Request, error: Exception) -> JSONResponse:
    """Starlette's exception handler for everything."""
    refusal = refusal_of(error)
    if refusal.code is None and refusal.status_code in _NOT_HERE:
        refusal = _unknown(request, refusal.status_code)
    return respond(refusal)


def _unknown(request: Request, status: int) -> Refusal:
    return Refusal(
        f"Unknown request: {request.method} {request.url.path[:200]}. This endpoint has "
        "GET /v1/models, POST /v1/chat/completions and POST /v1/completions.",
        code="unknown_url",
        status=status,
    )


def _type(status: int) -> str:
    known = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return known.get(status, "server_error" if status >= 500 else "invalid_request_error")
