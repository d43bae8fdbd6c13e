"""What a provider and its model worker say to each other: one JSON object a line.

To the worker: `{"op": "generate", "id", "adapter", "requests", "stream"}` and
`{"op": "cancel", "id"}`. From it: any number of `{"id", "text"}` where a stream was asked for, then
`{"id", "generations", "loaded_adapters"}` or `{"id", "error"}` with an error envelope.
This module knows the interface's words only: no process, no model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rune_engine.inference.provider import AdapterRef, ChatMessage, Generation, GenerationRequest

Message = dict[str, Any]


def to_line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def generate_message(
    requests: Sequence[GenerationRequest], adapter: AdapterRef | None, *, stream: bool = False
) -> Message:
    return {
        "op": "generate",
        "stream": stream,
        "adapter": asdict(adapter) | {"path": str(Path(adapter.path).absolute())}
        if adapter
        else None,
        "requests": [asdict(request) for request in requests],
    }


def read_adapter(message: Message) -> AdapterRef | None:
    adapter = message["adapter"]
    return AdapterRef(**adapter | {"path": Path(adapter["path"])}) if adapter else None


def read_requests(message: Message) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            **request
            | {
                "messages": tuple(ChatMessage(**m) for m in request["messages"]),
                "stop": tuple(request["stop"]),
            }
        )
        for request in message["requests"]
    ]


def read_generations(message: Message) -> list[Generation]:
    return [
        Generation(**generation | {"token_logprobs": tuple(generation["token_logprobs"])})
        for generation in message["generations"]
    ]
