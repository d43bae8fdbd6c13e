"""What a worker needs of a model: rows join it, and it makes them longer a token at a time.

Knows nothing of torch, llama.cpp or pipes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.inference.rows import Row


class WorkerModel(Protocol):
    """A base model in memory, and the adapters on it."""

    @property
    def loaded_adapters(self) -> list[str]:
        """The ids of the adapters in memory."""

    def row(
        self,
        request: GenerationRequest,
        adapter: AdapterRef | None,
        cancelled: Callable[[], bool],
        on_text: Callable[[str], None] | None,
    ) -> Row:
        """Tokenise one request.

        Raises:
            ContextTooLongError: the prompt leaves too little of the model's context to answer in.
        """

    def admit(self, row: Row) -> bool:
        """Let a row join those that are being decoded; False when it has to wait for their end.

        Raises:
            AdapterCorruptedError: its adapter may not be loaded.
        """

    def step(self) -> list[Row]:
        """Give every row that joined its next token; those that ended leave, and are returned."""

    def abandon(self) -> None:
        """Forget every row: a step has failed."""
