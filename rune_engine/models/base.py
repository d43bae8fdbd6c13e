"""What every wire model is made of: bounded texts, names and ids, strict and frozen."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

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


class Model(BaseModel):
    """Strict at the edges: unknown fields are an error, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)
