"""What the tests of the back-ends share that is no fixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rune_engine.inference.provider import AdapterRef, ChatMessage, GenerationRequest

BASE_MODEL_ID = "tiny-random"
MakeAdapter = Callable[..., AdapterRef]


def ask(text: str, **settings: Any) -> GenerationRequest:
    """A request with one user message; 24 tokens unless told otherwise."""
    messages = (ChatMessage("system", "You write Python."), ChatMessage("user", text))
    return GenerationRequest(messages=messages, **{"max_tokens": 24, **settings})
