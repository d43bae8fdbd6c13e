"""Requests in the shape that editors' clients send them, fields and all, over plain HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai_support import events, user

LITELLM = {
    "model": "rune",
    "messages": [
        {"role": "system", "content": "Act as an expert software developer."},
        {"role": "user", "content": "I have *added these files*."},
        {"role": "assistant", "content": "Ok, any changes?"},
        {"role": "user", "content": "Echo"},
    ],
    "stream": True,
    "temperature": 0,
    "extra_body": {},
    "user": "somebody",
}
CONTINUE_CHAT = {
    "model": "rune",
    "messages": [
        {"role": "system", "content": " "},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Ec"}, {"type": "text", "text": "ho"}],
        },
    ],
    "max_tokens": 4096,
    "temperature": None,
    "top_p": None,
    "frequency_penalty": None,
    "presence_penalty": None,
    "stop": None,
    "stream": True,
    "parallel_tool_calls": False,
}
CONTINUE_COMPLETION = {
    "model": "rune",
    "prompt": "<|fim_prefix|>def Echo(<|fim_suffix|>)<|fim_middle|>",
    "max_tokens": 4096,
    "temperature": 0.01,
    "stop": [f"\n\n{n}" for n in range(40)] + ["<|endoftext|>", "/src/", "```"],
    "stream": True,
}
CLINE = {
    "model": "rune",
    "messages": [
        {"role": "system", "content": "You are Cline."},
        {"role": "user", "content": [{"type": "text", "text": "<task>\nEcho\n</task>"}]},
        {"role": "user", "content": [{"type": "text", "text": "# Environment"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "1",
                    "type": "function",
                    "function": {"name": "read_file", "arguments": '{"path": "a.py"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "Echo"},
    ],
    "temperature": 0,
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "read_file", "parameters": {}}}],
    "tool_choice": "auto",
    "reasoning_effort": "low",
}


@pytest.mark.parametrize(
    "body", [LITELLM, CONTINUE_CHAT, CLINE], ids=["aider", "Continue", "Cline"]
)
async def test_a_chat_is_streamed(raw: httpx.AsyncClient, body: dict[str, Any]) -> None:
    response = await raw.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    found = events(response.text)
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in found if e["choices"])
    assert text == "one two three four five"
    assert ("usage" in found[-1]) == ("stream_options" in body)


async def test_a_completion_between_two_pieces_of_code_is_streamed(raw: httpx.AsyncClient) -> None:
    headers = {"api-key": "for Azure"}
    response = await raw.post("/v1/completions", json=CONTINUE_COMPLETION, headers=headers)
    texts = [event["choices"][0]["text"] for event in events(response.text)]
    assert "".join(texts) == "one two three four five"


async def test_no_line_of_a_stream_ends_it_early_in_any_client(raw: httpx.AsyncClient) -> None:
    """Continue takes a comment that begins with `: ping` for the end."""
    response = await raw.post("/v1/chat/completions", json=LITELLM)
    lines = [line for line in response.text.splitlines() if line]
    assert all(line.startswith("data: ") or line.startswith(": rune: ") for line in lines)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "developer", "content": "Be brief."}, *user("Echo")],
        [*user("Echo"), *user(""), *user("please")],
        [{"role": "system"}, {"role": "user", "content": [], "name": "me"}, *user("Echo")],
        [*user("Echo"), {"role": "assistant", "content": None}],
        [*user("Echo"), {"role": "function", "name": "f", "content": "result"}],
        [*user("Echo"), {"role": "assistant", "content": "", "tool_calls": [{"odd": 1}]}],
    ],
    ids=["developer", "same role", "empty", "assistant last", "function", "odd call"],
)
async def test_unusual_chats_are_answered(raw: httpx.AsyncClient, messages: list[Any]) -> None:
    body = {"model": "rune", "messages": messages, "max_tokens": -1, "metadata": {"a": "b"}}
    response = await raw.post("/v1/chat/completions", json=body)
    answer = response.json()
    assert answer["choices"][0]["message"]["content"] == "one two three four five", answer
