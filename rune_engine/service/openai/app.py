"""The application behind the endpoint's port: its door, its limits and its routes."""

from __future__ import annotations

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from rune_engine.errors import RuneError
from rune_engine.service.engine import Engine
from rune_engine.service.limits import BodyLimit, CountRequests
from rune_engine.service.openai import refusals
from rune_engine.service.openai.door import Door
from rune_engine.service.openai.routes import Routes


def create_openai_app(engine: Engine, key: str) -> ASGIApp:
    """The OpenAI-compatible face of `engine`, for clients that show `key`."""
    app = Starlette(
        routes=Routes(engine).table(),
        exception_handlers={
            HTTPException: refusals.handle,
            RuneError: refusals.handle,
            ValidationError: refusals.handle,
            Exception: refusals.handle,
        },
    )
    app.router.redirect_slashes = False
    return Door(CountRequests(BodyLimit(app), engine.activity), key)
