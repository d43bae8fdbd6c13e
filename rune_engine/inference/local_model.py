"""A base model in memory and the adapters on it. Runs in the worker process only.

Knows torch, Transformers and PEFT; nothing of pipes or of who asks.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rune_engine.errors import ContextTooLongError
from rune_engine.inference.adapter_files import adapter_key, check_config, check_weights
from rune_engine.inference.decoding import Decoder, Row
from rune_engine.inference.provider import AdapterRef, ChatMessage, Generation, GenerationRequest

MAX_ROWS = 32
_SMALL_MODEL_PARAMETERS = 100_000_000


class LocalModel:
    """Completes requests with an adapter on, or none.

    Args:
        folder: a base model that Transformers loads.
        max_adapters: adapters kept in memory; the least recently used goes first.
    """

    def __init__(self, folder: Path, max_adapters: int) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=_precision(folder, device),
            attn_implementation="sdpa",
            local_files_only=True,
            use_safetensors=True,
        )
        self._model.to(device).eval()
        self._context: int = self._model.config.max_position_embeddings
        self._special = [token for token in self._tokenizer.all_special_tokens if len(token) > 1]
        self._decoder = Decoder(self._model, self._stop_ids(), self._to_text)
        self._adapters = _Adapters(self._model, max_adapters)

    @property
    def loaded_adapters(self) -> list[str]:
        """The ids of the adapters in memory."""
        return self._adapters.ids

    def row(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Row:
        """Tokenise one request.

        Raises:
            ContextTooLongError: the prompt leaves too little of the model's context to answer in.
        """
        prompt = self._tokens(request.messages)
        room = self._context - len(prompt)
        if room < min(request.max_tokens, self._context // 4):
            raise ContextTooLongError(
                f"The prompt has {len(prompt)} tokens; the model's context is {self._context}.",
                next_step="Shorten the task description, or use a base model with more context.",
            )
        return Row(prompt, request, min(request.max_tokens, room), cancelled)

    def complete(self, rows: Sequence[Row], adapter: AdapterRef | None) -> None:
        """Decode rows in place, at most `MAX_ROWS` at a time.

        Raises:
            AdapterCorruptedError: the adapter's files may not be loaded.
        """
        with self._adapters.on(adapter):
            for start in range(0, len(rows), MAX_ROWS):
                self._decoder.complete(rows[start : start + MAX_ROWS])

    def generation(self, row: Row, adapter: AdapterRef | None) -> Generation:
        """A finished row as the interface's answer."""
        assert row.finish_reason is not None
        return Generation(
            text=self._decoder.text(row),
            finish_reason=row.finish_reason,
            prompt_tokens=len(row.prompt),
            completion_tokens=len(row.tokens),
            adapter_id=adapter.id if adapter else None,
        )

    def _tokens(self, messages: Sequence[ChatMessage]) -> list[int]:
        chat = [{"role": m.role, "content": self._without_special(m.content)} for m in messages]
        text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _without_special(self, content: str) -> str:
        """Content cannot spell a special token, so it cannot end its turn or forge another."""
        for token in self._special:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        return content

    def _to_text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _stop_ids(self) -> frozenset[int]:
        configured = self._model.generation_config.eos_token_id
        listed = configured if isinstance(configured, list) else [configured]
        ids = {*listed, self._tokenizer.eos_token_id}
        return frozenset(int(token) for token in ids if token is not None)


def _precision(folder: Path, device: str) -> torch.dtype:
    """Exact for small models on a CPU; where a model is large, half the bytes to move."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        parameters = AutoModelForCausalLM.from_config(config).num_parameters()
    small = device == "cpu" and parameters < _SMALL_MODEL_PARAMETERS
    return torch.float32 if small else torch.bfloat16


class _Adapters:
    """The adapters on one base model, least recently used first, under content-derived names."""

    def __init__(self, model: Any, limit: int) -> None:
        self._base = model
        self._peft: Any = None
        self._limit = limit
        self._loaded: OrderedDict[str, str] = OrderedDict()

    @property
    def ids(self) -> list[str]:
        return list(self._loaded.values())

    @contextlib.contextmanager
    def on(self, adapter: AdapterRef | None) -> Iterator[None]:
        """Within this context the model answers with `adapter` and no other."""
        if adapter is not None:
            self._switch_to(adapter)
            yield
        elif self._peft is None:
            yield
        else:
            with self._peft.disable_adapter():
                yield

    def _switch_to(self, adapter: AdapterRef) -> None:
        key = adapter_key(adapter)
        if key not in self._loaded:
            check_weights(adapter)
            check_config(adapter, dora=True)
            self._load(adapter.path, key)
        self._loaded[key] = adapter.id
        self._loaded.move_to_end(key)
        self._peft.set_adapter(key, inference_mode=True)
        while len(self._loaded) > self._limit:
            oldest, _ = self._loaded.popitem(last=False)
            self._peft.delete_adapter(oldest)

    def _load(self, folder: Path, key: str) -> None:
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(
                self._base, folder, adapter_name=key, low_cpu_mem_usage=True
            )
        else:
            self._peft.load_adapter(folder, adapter_name=key, low_cpu_mem_usage=True)
        self._peft.eval()
