"""A base model in memory and the adapters on it. Runs in the worker process only.

Knows torch and Transformers; nothing of pipes or of who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from rune_engine.errors import ContextTooLongError
from rune_engine.inference.adapter_store import AdapterStore
from rune_engine.inference.base_weights import context_of, load_weights
from rune_engine.inference.decoding import Decoder
from rune_engine.inference.lora import LoraLayers
from rune_engine.inference.prefixes import Prefixes
from rune_engine.inference.provider import AdapterRef, ChatMessage, GenerationRequest
from rune_engine.inference.rows import Row


class LocalModel:
    """A `WorkerModel` of torch: completes requests, each with its adapter on, or none.

    Args:
        folder: a base model that Transformers loads.
        adapter_bytes: what adapters that are kept in memory may take.
        prefix_bytes: what recent conversations may take, kept to go on from.
        precision: auto, float32, bfloat16 or nf4.
        context: tokens of context; the model's own by default.
    """

    def __init__(
        self,
        folder: Path,
        *,
        adapter_bytes: int,
        prefix_bytes: int,
        precision: str = "auto",
        context: int | None = None,
    ) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = load_weights(folder, precision)
        self._context = context_of(self._model, context)
        self._special = [token for token in self._tokenizer.all_special_tokens if len(token) > 1]
        layers = LoraLayers(self._model, self._model.dtype)
        self._adapters = AdapterStore(layers, adapter_bytes)
        self._decoder = Decoder(self._model, layers, Prefixes(prefix_bytes))
        self._keys: dict[Row, str] = {}

    @property
    def loaded_adapters(self) -> list[str]:
        return self._adapters.ids

    def row(
        self,
        request: GenerationRequest,
        adapter: AdapterRef | None,
        cancelled: Callable[[], bool],
        on_text: Callable[[str], None] | None,
    ) -> Row:
        prompt = self._tokens(request)
        room = self._context - len(prompt)
        if room < min(request.max_tokens, self._context // 4):
            raise ContextTooLongError(
                f"The prompt has {len(prompt)} tokens; the model's context is {self._context}.",
                next_step="Shorten the task description, or use a base model with more context.",
            )
        limit = min(request.max_tokens, room)
        return Row(request, adapter, prompt, limit, self, cancelled, on_text)

    def admit(self, row: Row) -> bool:
        if len(self._decoder.rows) >= self._decoder.most_rows:
            return False
        key = None
        if row.adapter is not None:
            key = self._keys[row] = self._adapters.acquire(row.adapter)
        self._decoder.add(row, key)
        return True

    def step(self) -> list[Row]:
        ended = self._decoder.step()
        for row in ended:
            if row in self._keys:
                self._adapters.release(self._keys.pop(row))
        return ended

    def abandon(self) -> None:
        self._decoder.clear()
        while self._keys:
            self._adapters.release(self._keys.popitem()[1])

    # --- the vocabulary ------------------------------------------------------------------------

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        configured = self._model.generation_config.eos_token_id
        listed = configured if isinstance(configured, list) else [configured]
        ids = {*listed, self._tokenizer.eos_token_id}
        return frozenset(int(token) for token in ids if token is not None)

    def text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _tokens(self, request: GenerationRequest) -> list[int]:
        text = request.prompt if request.prompt is not None else self._rendered(request.messages)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _rendered(self, messages: Sequence[ChatMessage]) -> str:
        chat = [{"role": m.role, "content": self._without_special(m.content)} for m in messages]
        text: str = self._tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=False
        )
        return text

    def _without_special(self, content: str) -> str:
        """Content cannot spell a special token, so it cannot end its turn or forge another."""
        for token in self._special:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        return content
