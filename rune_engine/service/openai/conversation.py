"""OpenAI's messages as the chat that a local model's template knows.

Templates know three roles and plain text, and many insist that user and assistant take turns. So
`developer` is `system`, results of tools are the user's words, a call that some other model made
is its text, and neighbours of one role become one message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rune_engine.inference.provider import ChatMessage, Role
from rune_engine.service.openai.refusals import Refusal
from rune_engine.service.openai.schemas import ContentPart, Message

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
    "function": "user",
}
_TEXT_PARTS = ("text", "input_text", "output_text")


def to_chat(messages: Sequence[Message]) -> tuple[ChatMessage, ...]:
    """The chat to complete.

    Raises:
        Refusal: a part of a message is no text.
    """
    said = [(_ROLES[message.role], _text(at, message)) for at, message in enumerate(messages)]
    return tuple(
        ChatMessage(role, "\n\n".join(text for _, text in turn if text))
        for role, turn in groupby(said, key=lambda one: one[0])
    )


def _text(at: int, message: Message) -> str:
    calls = [_call(call) for call in message.tool_calls or ()]
    return "\n".join([*_contents(at, message.content), *calls])


def _contents(at: int, content: str | list[ContentPart] | None) -> list[str]:
    if content is None or isinstance(content, str):
        return [content] if content else []
    for number, part in enumerate(content):
        if part.type not in _TEXT_PARTS or part.text is None:
            raise Refusal(
                f"A message has a part of type {part.type[:50]!r}; the model reads text only.",
                param=f"messages.{at}.content.{number}",
                code="unsupported_content",
            )
    return ["".join(part.text or "" for part in content)]


def _call(call: dict[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return json.dumps(call)
    return f"{function.get('name')}({function.get('arguments')})"
