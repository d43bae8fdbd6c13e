"""A base model in memory and the adapters on it. Runs in the worker process only.

Knows torch, Transformers and PEFT; nothing of pipes or of who asks.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rune_engine.errors import ContextTooLongError
from rune_engine.inference.adapter_files import adapter_key, check_config, check_weights
from rune_engine.inference.decoding import Decoder
from rune_engine.inference.provider import AdapterRef, ChatMessage, GenerationRequest
from rune_engine.inference.rows import Row

MAX_ROWS = 32
_SMALL_MODEL_PARAMETERS = 100_000_000


class LocalModel:
    """A `WorkerModel` of torch: completes requests with an adapter on, or none.

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
        self._decoder = Decoder(self._model)
        self._adapters = _Adapters(self._model, max_adapters)
        self._adapter: AdapterRef | None = None

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
        if not self._decoder.rows:
            self._adapters.load(row.adapter)
            self._adapter = row.adapter
        elif (
            self._decoder.started
            or row.adapter != self._adapter
            or len(self._decoder.rows) >= MAX_ROWS
        ):
            return False
        self._decoder.add(row)
        return True

    def step(self) -> list[Row]:
        with self._adapters.on(self._adapter):
            return self._decoder.step()

    def abandon(self) -> None:
        self._decoder.clear()

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

    def load(self, adapter: AdapterRef | None) -> None:
        """Have `adapter` in memory and switched to.

        Raises:
            AdapterCorruptedError: its files may not be loaded.
        """
        if adapter is None:
            return
        key = adapter_key(adapter)
        if key not in self._loaded:
            check_weights(adapter)
            check_config(adapter)
            self._load(adapter.path, key)
        self._loaded[key] = adapter.id
        self._loaded.move_to_end(key)
        self._peft.set_adapter(key, inference_mode=True)
        while len(self._loaded) > self._limit:
            oldest, _ = self._loaded.popitem(last=False)
            self._peft.delete_adapter(oldest)

    @contextlib.contextmanager
    def on(self, adapter: AdapterRef | None) -> Iterator[None]:
        """Within this context the model answers with `adapter`, the last one loaded, or none."""
        if adapter is not None or self._peft is None:
            yield
        else:
            with self._peft.disable_adapter():
                yield

    def _load(self, folder: Path, key: str) -> None:
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(
                self._base, folder, adapter_name=key, low_cpu_mem_usage=True
            )
        else:
            self._peft.load_adapter(folder, adapter_name=key, low_cpu_mem_usage=True)
        self._peft.eval()
