"""OpenAI's messages become a chat that every template takes."""

from __future__ import annotations

from typing import Any

from rune_engine.inference.provider import ChatMessage
from rune_engine.service.openai.conversation import to_chat
from rune_engine.service.openai.schemas import Message


def chat(*messages: dict[str, Any]) -> tuple[ChatMessage, ...]:
    return to_chat([Message.model_validate(message) for message in messages])


def test_neighbours_of_one_role_become_one_message() -> None:
    assert chat(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "user", "content": ""},
        {"role": "tool", "content": "d"},
        {"role": "assistant", "content": "e"},
        {"role": "user", "content": "f"},
    ) == (
        ChatMessage("system", "a\n\nb"),
        ChatMessage("user", "c\n\nd"),
        ChatMessage("assistant", "e"),
        ChatMessage("user", "f"),
    )


def test_parts_are_one_text_and_calls_are_shown() -> None:
    parts = [{"type": "text", "text": "def f"}, {"type": "text", "text": "(): ..."}]
    call = {"function": {"name": "ls", "arguments": "{}"}}
    assert chat(
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Look:", "tool_calls": [call]},
    ) == (ChatMessage("user", "def f(): ..."), ChatMessage("assistant", "Look:\nls({})"))
