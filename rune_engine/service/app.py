"""The FastAPI application: routes, the door's limits, and every error as an envelope."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rune_engine.errors import InvalidInputError, NotFoundError, RuneError
from rune_engine.service.capture import router as capture_router
from rune_engine.service.engine import Engine
from rune_engine.service.limits import BodyLimit, CountRequests
from rune_engine.service.routes import router
from rune_engine.service.viewing import CHANGES
from rune_engine.service.viewing import router as viewing_router

log = logging.getLogger(__name__)

_SHOWN_ERRORS = 5
_SHOWN_FIELD_CHARS = 120
_SHOWN_MESSAGE_CHARS = 300


def create_app(engine: Engine) -> FastAPI:
    """The REST face of `engine`."""
    app = FastAPI(title="Rune engine", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.engine = engine
    app.include_router(router)
    app.include_router(capture_router)
    app.include_router(viewing_router)
    app.add_middleware(BodyLimit)
    app.add_middleware(CountRequests, activity=engine.activity, uncounted=frozenset({CHANGES}))
    app.add_exception_handler(RuneError, _rune_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen)
    return app


def _respond(error: RuneError, status: int | None = None) -> JSONResponse:
    return JSONResponse({"error": error.to_envelope()}, status or error.http_status)


async def _rune_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RuneError)
    return _respond(error)


async def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _respond(
        InvalidInputError(
            f"The request cannot be accepted: {_describe(error.errors())}.",
            next_step="Correct the fields it names and send it again.",
        )
    )


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    """What FastAPI itself refuses: unknown paths, unreadable bodies, bodies too large."""
    assert isinstance(error, HTTPException)
    kind = NotFoundError if error.status_code == HTTPStatus.NOT_FOUND else InvalidInputError
    next_step = ""
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        next_step = "Send less: shorten long outputs, or record fewer attempts at once."
    return _respond(kind(str(error.detail), next_step=next_step), error.status_code)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _respond(
        RuneError(
            f"The engine failed over {request.url.path} with {type(error).__name__}.",
            next_step="The engine's log has the details; please report this.",
        )
    )


def _describe(errors: Sequence[Any]) -> str:
    """Each wrong field by its name, and what is wrong with it; never its value."""
    shown = [_describe_one(error) for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        shown.append(f"and {len(errors) - _SHOWN_ERRORS} more")
    return "; ".join(shown)


def _describe_one(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
    message = str(error["msg"])[:_SHOWN_MESSAGE_CHARS]
    return f"{field[:_SHOWN_FIELD_CHARS] or 'body'}: {message}"
