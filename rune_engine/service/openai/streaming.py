"""An answer as server-sent events, from the first to `[DONE]`.

The response begins with the first words of the model, or of why there are none yet: an error before
that has a status of its own, a later one is an event. Knows nothing of who asks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import Receive, Scope, Send

from rune_engine.service.openai.answering import (
    Begins,
    Ended,
    Event,
    Piece,
    Waits,
    closing,
    while_connected,
)
from rune_engine.service.openai.bodies import Bodies, Body
from rune_engine.service.openai.choosing import Choice
from rune_engine.service.openai.refusals import envelope, refusal_of

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def choice_headers(choice: Choice) -> dict[str, str]:
    """The headers that say which memory answers."""
    found = {
        "x-rune-adapter": choice.adapter.id if choice.adapter else "none",
        "x-rune-project": choice.project_id or "",
        "x-rune-reason": " ".join(choice.reason.split()),
    }
    return {
        name: value.encode("ascii", "replace").decode() for name, value in found.items() if value
    }


class EventStream:
    """An ASGI response that shows events to one client until they end or the client is gone.

    Args:
        events: closed whatever happens.
        bodies: makes the bodies for the memory that was chosen.
        count: how many completions there will be.
        include_usage: whether the last body counts tokens.
    """

    def __init__(
        self,
        events: AsyncIterator[Event],
        bodies: Callable[[Choice], Bodies],
        count: int,
        include_usage: bool,
    ) -> None:
        self._events = events
        self._make_bodies = bodies
        self._choice: Choice | None = None
        self._bodies: Bodies | None = None
        self._count = count
        self._include_usage = include_usage
        self._started = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        try:
            async with closing(self._events) as events:
                held = ""
                async for event in events:
                    held += "".join(self._shown(event))
                    if not isinstance(event, Begins):
                        await self._start(send)
                        await _body(send, held)
                        held = ""
        except Exception as error:
            if not self._started:
                raise
            await _body(send, _data(envelope(refusal_of(error))))
        else:
            if self._include_usage and self._bodies is not None:
                await _body(send, _data(self._bodies.usage()))
        await _body(send, "data: [DONE]\n\n", more=False)

    async def _start(self, send: Send) -> None:
        if self._started:
            return
        self._started = True
        headers = MutableHeaders(_HEADERS)
        if self._choice is not None:
            headers.update(choice_headers(self._choice))
        await send({"type": "http.response.start", "status": 200, "headers": headers.raw})

    def _shown(self, event: Event) -> Iterator[str]:
        if isinstance(event, Waits):
            # A comment. Never ": ping": Continue takes that for the end of the stream.
            yield f": rune: {' '.join(event.text.split())}\n\n"
        elif isinstance(event, Begins):
            self._choice = event.choice
            self._bodies = self._make_bodies(event.choice)
            yield from map(_data, self._bodies.beginning(self._count))
        else:
            yield _data(self._body_of(event))

    def _body_of(self, event: Piece | Ended) -> Body:
        assert self._bodies is not None
        if isinstance(event, Piece):
            return self._bodies.piece(event.index, event.text)
        return self._bodies.end(event.index, event.generation)


def _data(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


async def _body(send: Send, text: str, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": more})
