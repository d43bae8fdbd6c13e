"""What every wire model is made of: bounded texts, names and ids, strict and frozen."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

MAX_TEXT_CHARS = 1_000_000
"""Longest single text field accepted at the door (a 50 MB field is refused, not stored)."""
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
NAME_PATTERN = r"^[A-Za-z0-9_@:+][A-Za-z0-9_.@:+/ -]*$"
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NAME_PATTERN)]
"""A project, domain, task type or agent: printable, bounded, never a relative path."""
Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
]
"""An adapter, trajectory, session or job id; cannot spell a path."""

_MAX_DEPTH = 32
_MAX_VALUES = 10_000


def _bounded(found: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON cannot hold, or what would cost whoever reads it too much."""
    waiting: list[tuple[Any, int]] = [(found, 1)]
    values = chars = 0
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if depth > _MAX_DEPTH or values > _MAX_VALUES:
            raise ValueError(f"at most {_MAX_VALUES} values, {_MAX_DEPTH} deep, are accepted")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("NaN and infinity are no JSON numbers")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("an integer has 64 bits at most")
        if isinstance(value, dict):
            chars += sum(map(len, value))
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, str):
            chars += len(value)
        if chars > MAX_TEXT_CHARS:
            raise ValueError(f"its texts have at most {MAX_TEXT_CHARS} characters together")
    return found


JsonObject = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""Any JSON object of sensible size and depth."""


class Model(BaseModel):
    """Strict at the edges: unknown fields are an error, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)
