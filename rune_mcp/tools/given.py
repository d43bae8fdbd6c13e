"""Which of a tool's arguments belong to one of the engine's models."""

from __future__ import annotations

from typing import Any

from rune_engine.models import Model


def given(arguments: dict[str, Any], model: type[Model]) -> dict[str, Any]:
    """Those of a tool's arguments that are fields of `model`."""
    return {name: value for name, value in arguments.items() if name in model.model_fields}
