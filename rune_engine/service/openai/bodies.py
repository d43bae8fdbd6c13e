"""The bodies of OpenAI's answers, whole and in pieces.

Every body says which memory answered: in `model`, by a name that asks for it again, and in `rune`,
a field of Rune's own that clients leave alone. Knows nothing of how answers are made.
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from rune_engine.inference.provider import Generation
from rune_engine.service.openai.choosing import Choice

Body = dict[str, Any]


class Bodies(ABC):
    """The answers to one request.

    Args:
        choice: the memory that answers.
        copies: how many answers each prompt gets; they come after each other.
        ignored: names of the request's fields that changed nothing.
    """

    prefix: ClassVar[str]
    whole_object: ClassVar[str]
    piece_object: ClassVar[str]

    def __init__(self, choice: Choice, copies: int, ignored: Sequence[str]) -> None:
        self._copies = copies
        self._usage: dict[int, tuple[int, int]] = {}
        self._head = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": choice.model,
            "system_fingerprint": None,
        }
        self._rune = {
            "adapter_id": choice.adapter.id if choice.adapter else None,
            "project_id": choice.project_id,
            "reason": choice.reason,
            "ignored": list(ignored),
        }

    def whole(self, generations: Sequence[Generation]) -> Body:
        """Everything at once."""
        choices = [self._whole_choice(index, made) for index, made in enumerate(generations)]
        for index, made in enumerate(generations):
            self._count(index, made)
        more = {"choices": choices, "usage": self._total(), "rune": self._rune}
        return {**self._head, "object": self.whole_object, **more}

    def beginning(self, count: int) -> Iterator[Body]:
        """What a stream of `count` completions begins with; the first body names the memory."""
        for index in range(count):
            body = self._chunk([self._first_choice(index)])
            yield body | {"rune": self._rune} if index == 0 else body

    def piece(self, index: int, text: str) -> Body:
        """More of one completion."""
        return self._chunk([self._piece_choice(index, text)])

    def end(self, index: int, generation: Generation) -> Body:
        """One completion is whole."""
        self._count(index, generation)
        return self._chunk([self._last_choice(index, generation)])

    def usage(self) -> Body:
        """The last body of a stream whose client asked for it."""
        return self._chunk([]) | {"usage": self._total()}

    def _chunk(self, choices: list[Body]) -> Body:
        return {**self._head, "object": self.piece_object, "choices": choices}

    def _count(self, index: int, generation: Generation) -> None:
        self._usage[index] = (generation.prompt_tokens, generation.completion_tokens)

    def _total(self) -> Body:
        prompts = sum(self._usage[index][0] for index in self._usage if index % self._copies == 0)
        completions = sum(completion for _, completion in self._usage.values())
        return {
            "prompt_tokens": prompts,
            "completion_tokens": completions,
            "total_tokens": prompts + completions,
        }

    @abstractmethod
    def _whole_choice(self, index: int, generation: Generation) -> Body: ...

    @abstractmethod
    def _first_choice(self, index: int) -> Body: ...

    @abstractmethod
    def _piece_choice(self, index: int, text: str) -> Body: ...

    @abstractmethod
    def _last_choice(self, index: int, generation: Generation) -> Body: ...


class ChatBodies(Bodies):
    """Answers of `/v1/chat/completions`."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    piece_object = "chat.completion.chunk"

    def _whole_choice(self, index: int, generation: Generation) -> Body:
        message = {"role": "assistant", "content": generation.text, "refusal": None}
        return {
            "index": index,
            "message": message,
            "logprobs": self._known(generation),
            "finish_reason": generation.finish_reason,
        }

    def _first_choice(self, index: int) -> Body:
        return _delta(index, {"role": "assistant", "content": ""})

    def _piece_choice(self, index: int, text: str) -> Body:
        return _delta(index, {"content": text})

    def _last_choice(self, index: int, generation: Generation) -> Body:
        ended = {"finish_reason": generation.finish_reason, "logprobs": self._known(generation)}
        return _delta(index, {}) | ended

    def _known(self, generation: Generation) -> Body | None:
        """Log-probabilities without the tokens' texts: back-ends tell the numbers alone."""
        if not generation.token_logprobs:
            return None
        tokens: list[Body] = [
            {"token": "", "bytes": None, "logprob": logprob, "top_logprobs": []}
            for logprob in generation.token_logprobs
        ]
        return {"content": tokens, "refusal": None}


class TextBodies(Bodies):
    """Answers of `/v1/completions`."""

    prefix = "cmpl"
    whole_object = "text_completion"
    piece_object = "text_completion"

    def _whole_choice(self, index: int, generation: Generation) -> Body:
        return _text(index, generation.text) | self._ended(generation)

    def _first_choice(self, index: int) -> Body:
        return _text(index, "")

    def _piece_choice(self, index: int, text: str) -> Body:
        return _text(index, text)

    def _last_choice(self, index: int, generation: Generation) -> Body:
        return _text(index, "") | self._ended(generation)

    def _ended(self, generation: Generation) -> Body:
        logprobs = None
        if generation.token_logprobs:
            known = list(generation.token_logprobs)
            logprobs = {"tokens": [""] * len(known), "token_logprobs": known, "top_logprobs": None}
        return {"finish_reason": generation.finish_reason, "logprobs": logprobs}


def _delta(index: int, delta: Body) -> Body:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _text(index: int, text: str) -> Body:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": None}
