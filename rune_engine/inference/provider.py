"""S3: what every inference back-end is to the rest of Rune.

A provider serves one base model. The adapter is chosen per call, so one provider switches
between memories at run time. This module knows nothing of torch, llama.cpp or HTTP.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rune_engine.errors import InvalidInputError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """An adapter on disk, verified by the registry before it got here.

    `path` is a folder with `adapter_model.safetensors` and `adapter_config.json`; `sha256` is
    the hash of the weights, so a reference never means other bytes than it once did.
    """

    id: str
    path: Path
    sha256: str
    base_model_id: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One completion to make, of a conversation or of raw text: exactly one of them is given.

    A message's content cannot spell a special token; in a raw `prompt`, which no chat template
    touches, it can. `temperature` 0 is greedy; `seed` makes sampling repeatable.
    """

    messages: tuple[ChatMessage, ...] = ()
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    prompt: str | None = None
    logprobs: bool = False

    def __post_init__(self) -> None:
        if bool(self.messages) == (self.prompt is not None):
            raise InvalidInputError(
                "A request has either messages or a prompt.", next_step="Give one of them."
            )


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion: its text without the stop string, and its token counts.

    `token_logprobs` has, where it was asked for, the natural log-probability of every generated
    token, the end token included, at temperature 1.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    adapter_id: str | None = None
    token_logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """What a provider says of itself; `worker_pids` are processes it keeps alive."""

    name: str
    base_model_id: str
    loaded: bool
    worker_pids: tuple[int, ...] = ()
    loaded_adapters: tuple[str, ...] = field(default=())


class InferenceProvider(ABC):
    """One base model behind one back-end."""

    name: str
    base_model_id: str

    @abstractmethod
    async def generate(
        self, requests: Sequence[GenerationRequest], *, adapter: AdapterRef | None = None
    ) -> list[Generation]:
        """Complete every request, in order, with `adapter` on (or the base model alone).

        Cancelling the awaiting task stops the generation itself, not only the wait.

        Raises:
            AdapterBaseModelMismatchError: the adapter was made for another base model.
            AdapterCorruptedError: the adapter's files are not what they were stored as.
            ContextTooLongError: a prompt leaves too little of the model's context to answer in.
            WorkerDiedError: the back-end died; the next call starts a new one.
            MissingExtraError: an optional dependency is not installed.
        """

    async def stream(
        self, request: GenerationRequest, *, adapter: AdapterRef | None = None
    ) -> AsyncIterator[str | Generation]:
        """Complete one request piece by piece; the last item is the whole answer.

        The pieces are whole characters and together the answer's text. Closing the iterator, or
        cancelling the task that reads it, stops the generation. Raises what `generate` raises.
        """
        [generation] = await self.generate([request], adapter=adapter)
        yield generation.text
        yield generation

    @abstractmethod
    def status(self) -> ProviderStatus:
        """What is loaded now; never starts anything."""

    @abstractmethod
    async def close(self) -> None:
        """Free everything, subprocesses included. The provider may be used again after."""

    async def sleep(self) -> None:
        """Give the accelerator's memory to somebody else; the next call loads again.

        Nothing may be generating. A back-end that can keep its weights elsewhere does better.
        """
        await self.close()

    async def wake(self) -> None:  # noqa: B027 - most have nothing to do for it
        """Be ready again after `sleep`; nothing happens to a provider that is awake."""
