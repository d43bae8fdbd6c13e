"""A base model in llama.cpp and the adapters on it. Runs in the worker process only.

Rows with one adapter are decoded together, in the adapter's lane, and join at any time. Each has a
slot of key-value memory; what a slot holds is used again by a later prompt with the same beginning
and the same adapter, and by no other. Knows nothing of pipes or of who asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from rune_engine.errors import BaseModelCorruptedError, ContextTooLongError, InvalidInputError
from rune_engine.gguf import keys
from rune_engine.gguf.bases import export_base
from rune_engine.gguf.cache import GgufCache, touch
from rune_engine.gguf.checks import check_base
from rune_engine.gguf.reading import Gguf, MalformedGguf
from rune_engine.gguf.tensors import Precision
from rune_engine.inference.adapter_files import adapter_key
from rune_engine.inference.llama_adapters import BASE_KEY, LlamaAdapters
from rune_engine.inference.llama_lanes import Lane
from rune_engine.inference.llama_native import BATCH_TOKENS, NativeContext, NativeModel
from rune_engine.inference.llama_text import LlamaText
from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.inference.rows import Row

MAX_SLOTS = 16
MAX_LANES = 4
_MEMORY_BYTES = 1024**3
"""What a lane's key-value memory may take, as long as the smallest context below fits once."""
_WANTED_SLOTS = 4
_SMALLEST_CONTEXT = 8192
_LEFT_BYTES = 2 * 1024**3
"""What has to be left to others after another lane has been made."""


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """How a model is served.

    Args:
        base_model_id: what adapters for it carry, and its file if Rune made it.
        cache: the folder of made GGUF files.
        context: tokens a prompt and its answer may have; the model's own by default, or what
            leaves memory for four at a time, but no less than 8,192.
        precision: of a base model folder's matrices; see `export_base`. With "float32" keys and
            values are float32, too: exact, and a tenth slower.
    """

    base_model_id: str
    cache: Path
    threads: int
    context: int | None
    adapter_memory_bytes: int
    precision: Precision | None


class LlamaModel:
    """A `WorkerModel` of llama.cpp: completes requests with an adapter on, or none.

    Args:
        path: a `.gguf` file, or a folder of which one is made at the first use.

    Raises:
        BaseModelCorruptedError: the file may not be loaded.
        InvalidInputError: the folder cannot be written as GGUF, or is another base model.
        InferenceError: llama.cpp cannot load it.
    """

    def __init__(self, path: Path, settings: LlamaSettings) -> None:
        cache = GgufCache(settings.cache)
        header = _base(path, cache, settings)
        self._model = NativeModel(header.path)
        self._text = LlamaText(self._model, header)
        self._context_tokens, slots = _layout(self._model, settings)
        self._slots = slots
        self._settings = settings
        self._clock = 0
        self._lanes = [self._new_lane()]
        self._adapters = LlamaAdapters(
            self._model, header, cache, settings.adapter_memory_bytes, self._take_off
        )

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
        prompt = self._text.tokens(request)
        room = self._context_tokens - len(prompt)
        if room < min(request.max_tokens, self._context_tokens // 4):
            raise ContextTooLongError(
                f"The prompt has {len(prompt)} tokens; the context is {self._context_tokens}.",
                next_step="Shorten the task description, raise serving.context, or use a base "
                "model with more context.",
            )
        limit = min(request.max_tokens, room)
        return Row(request, adapter, prompt, limit, self._text, cancelled, on_text)

    def admit(self, row: Row) -> bool:
        key = adapter_key(row.adapter) if row.adapter else BASE_KEY
        lane = self._lane_of(key, row.adapter)
        if lane is None or not lane.admit(row):
            return False
        self._clock += 1
        lane.used_at = self._clock
        return True

    def step(self) -> list[Row]:
        return [row for lane in self._lanes if lane.busy for row in lane.step()]

    def abandon(self) -> None:
        for lane in self._lanes:
            lane.forget()

    def _lane_of(self, key: str, adapter: AdapterRef | None) -> Lane | None:
        """The lane that an adapter is on, or is now put on; None when all decode with others."""
        pointer = self._adapters.load(key, adapter)
        own = next((lane for lane in self._lanes if lane.key == key), None)
        if own is not None:
            return own
        lane = self._free_lane()
        if lane is not None:
            lane.put_on(key, pointer)
        return lane

    def _free_lane(self) -> Lane | None:
        """A new lane while there is memory for one, else the one that was not used for longest."""
        if len(self._lanes) < MAX_LANES and self._has_room():
            self._lanes.append(self._new_lane())
            return self._lanes[-1]
        idle = [lane for lane in self._lanes if not lane.busy]
        return min(idle, key=lambda lane: lane.used_at, default=None)

    def _has_room(self) -> bool:
        needed = self._slots * self._context_tokens * _cell_bytes(self._model, self._settings)
        needed += BATCH_TOKENS * self._model.vocabulary_size * 4
        return int(psutil.virtual_memory().available) - needed >= _LEFT_BYTES

    def _new_lane(self) -> Lane:
        context = NativeContext(
            self._model,
            context=self._context_tokens,
            sequences=self._slots,
            threads=self._settings.threads,
            exact=self._settings.precision == "float32",
        )
        return Lane(context, self._slots, BASE_KEY)

    def _take_off(self, key: str) -> bool:
        """Have no lane hold an adapter; False when one decodes with it."""
        holding = [lane for lane in self._lanes if lane.key == key]
        if any(lane.busy for lane in holding):
            return False
        for lane in holding:
            lane.put_on(BASE_KEY, None)
        return True


def _cell_bytes(model: NativeModel, settings: LlamaSettings) -> int:
    return model.cell_bytes * (2 if settings.precision == "float32" else 1)


def _layout(model: NativeModel, settings: LlamaSettings) -> tuple[int, int]:
    """The context of each slot in tokens, and how many slots there are."""
    cell = _cell_bytes(model, settings)
    affordable = max(_SMALLEST_CONTEXT, _MEMORY_BYTES // (_WANTED_SLOTS * cell))
    context = min(model.trained_context, settings.context or affordable)
    return context, max(1, min(MAX_SLOTS, _MEMORY_BYTES // (context * cell)))


def _base(path: Path, cache: GgufCache, settings: LlamaSettings) -> Gguf:
    """The checked header of the base model's file, made of its folder if need be."""
    try:
        if not path.is_dir():
            return _same(check_base(path), settings.base_model_id)
        made = cache.base(path, settings.base_model_id, str(settings.precision))
        try:
            header = check_base(made)
        except (FileNotFoundError, MalformedGguf):
            cache.make_base(made, lambda target: _export(path, target, settings))
            header = check_base(made)
        touch(made)
        return _same(header, settings.base_model_id)
    except (MalformedGguf, OSError) as error:
        raise BaseModelCorruptedError(
            f"The base model {path} cannot be loaded: {error}.",
            next_step="Download it again, or make it again from its folder.",
        ) from error


def _export(folder: Path, target: Path, settings: LlamaSettings) -> None:
    export_base(folder, target, base_model_id=settings.base_model_id, precision=settings.precision)


def _same(header: Gguf, base_model_id: str) -> Gguf:
    told = header.keys.get(keys.BASE_MODEL_ID, base_model_id)
    if told != base_model_id:
        raise InvalidInputError(
            f"{header.path} is the base model {told!r}, not {base_model_id!r}.",
            next_step="Name the file that belongs to it.",
        )
    return header
