"""One completion in the making: its tokens, its text as far as it may be shown, and its end.

Shared by every model that runs in a worker. Knows token ids; nothing of torch, llama.cpp, pipes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rune_engine.errors import RuneError
from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest

_UNFINISHED = "\ufffd"
"""What a decoder makes of bytes that are only a part of a character."""
_LONGEST_WAIT = 64
"""Tokens after which such an end is taken for what the model means: it may never be finished."""


class Vocabulary(Protocol):
    """What a row has to know of its model's tokens."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a completion."""

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, special ones left out."""


@dataclass(slots=True, eq=False)
class Row:
    """A request, its prompt as token ids, and what has been generated for it.

    `limit` is the most tokens it may get, `cancelled` is asked between two of them, `on_text`
    hears the answer's text piece by piece. `sampler` belongs to whoever picks its tokens. `error`
    is set where this row, and no other, cannot go on.
    """

    request: GenerationRequest
    adapter: AdapterRef | None
    prompt: list[int]
    limit: int
    vocabulary: Vocabulary
    cancelled: Callable[[], bool]
    on_text: Callable[[str], None] | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    sampler: Any = None
    error: RuneError | None = None
    _text: str = ""
    _shown: int = 0
    _looked: int = 0
    _read_from: int = 0
    _read_to: int = 0

    @property
    def ended(self) -> bool:
        """Whether it gets no more tokens."""
        return self.finish_reason is not None or self.error is not None or self.cancelled()

    def accept(self, token: int, logprob: float | None = None) -> None:
        """Give the row its next token, and its log-probability where the request wants it."""
        self.tokens.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        ends = token in self.vocabulary.stop_ids
        if self._is_read:
            self._read(last=ends or len(self.tokens) >= self.limit)
            ends = self._cut_at_stop() or ends
        if ends:
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.limit:
            self.finish_reason = "length"
        if self.on_text is not None:
            self._show(self.on_text)

    def generation(self) -> Generation:
        """The finished row as the interface's answer."""
        assert self.finish_reason is not None
        return Generation(
            text=self._text if self._is_read else self.vocabulary.text(self.tokens),
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.tokens),
            adapter_id=self.adapter.id if self.adapter else None,
            token_logprobs=tuple(self.logprobs),
        )

    @property
    def _is_read(self) -> bool:
        """Whether its text is wanted before its end."""
        return self.on_text is not None or bool(self.request.stop)

    def _read(self, *, last: bool) -> None:
        """Append the text of the newest tokens, unless they end within a character.

        A few tokens before them are decoded again, so that the text is that of the whole.
        """
        known = self.vocabulary.text(self.tokens[self._read_from : self._read_to])
        whole = self.vocabulary.text(self.tokens[self._read_from :])
        last = last or len(self.tokens) - self._read_to >= _LONGEST_WAIT
        if len(whole) > len(known) and (last or not whole.endswith(_UNFINISHED)):
            self._text += whole[len(known) :]
            self._read_from, self._read_to = self._read_to, len(self.tokens)

    def _cut_at_stop(self) -> bool:
        found = [
            at
            for stop in self.request.stop
            if (at := self._text.find(stop, max(0, self._looked - len(stop) + 1))) >= 0
        ]
        self._text = self._text[: min(found, default=len(self._text))]
        self._looked = len(self._text)
        return bool(found)

    def _show(self, on_text: Callable[[str], None]) -> None:
        """Tell what is new, but for an end that may become a stop string."""
        end = len(self._text)
        if self.finish_reason is None:
            end -= max((_overlap(self._text, stop) for stop in self.request.stop), default=0)
        if end > self._shown:
            on_text(self._text[self._shown : end])
            self._shown = end


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
