"""A base model in llama.cpp and the adapters on it. Runs in the worker process only.

Rows with one adapter are decoded together, and join at any time. Each has a slot of key-value
memory; what a slot holds is used again by a later prompt with the same beginning and the same
adapter, and by no other. Knows nothing of pipes or of who asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rune_engine.errors import BaseModelCorruptedError, ContextTooLongError, InvalidInputError
from rune_engine.gguf import keys
from rune_engine.gguf.bases import export_base
from rune_engine.gguf.cache import GgufCache, touch
from rune_engine.gguf.checks import check_base
from rune_engine.gguf.reading import Gguf, MalformedGguf
from rune_engine.gguf.tensors import Precision
from rune_engine.inference.llama_adapters import BASE_KEY, LlamaAdapters
from rune_engine.inference.llama_native import BATCH_TOKENS, NativeContext, NativeModel, Piece
from rune_engine.inference.llama_slots import Slots
from rune_engine.inference.llama_text import LlamaText
from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.inference.rows import Row
from rune_engine.inference.sampling import pick

MAX_SLOTS = 16
_MEMORY_BYTES = 1024**3
"""What the key-value memory may take, as long as the smallest context below fits once."""
_WANTED_SLOTS = 4
_SMALLEST_CONTEXT = 8192


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
        self._context = NativeContext(
            self._model,
            context=self._context_tokens,
            sequences=slots,
            threads=settings.threads,
            exact=settings.precision == "float32",
        )
        self._slots = Slots(slots)
        self._adapters = LlamaAdapters(
            self._model, header, cache, settings.adapter_memory_bytes, self._take_off
        )
        self._key = BASE_KEY
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
        if not self._slots.busy:
            self._put_on(row.adapter)
        elif row.adapter != self._adapter:
            return False
        chosen = self._slots.choose(self._key, row.prompt)
        if chosen is None:
            return False
        slot, kept = chosen
        if not self._context.keep(slot.index, kept):
            self._context.keep(slot.index, 0)
            kept = 0
        self._slots.take(slot, row, self._key, kept)
        return True

    def step(self) -> list[Row]:
        pieces = self._pieces()
        asking = [piece.sequence for piece in pieces if piece.wants_logits]
        logits = dict(zip(asking, self._context.decode(pieces), strict=True))
        read = {piece.sequence: piece.tokens for piece in pieces}
        ended = []
        for slot in self._slots.busy:
            row = slot.row
            assert row is not None
            tokens = read.get(slot.index, ())
            slot.tokens.extend(tokens)
            del slot.pending[: len(tokens)]
            if slot.index in logits:
                pick(row, logits[slot.index])
                slot.pending = row.tokens[-1:]
            if row.ended:
                self._slots.free(slot)
                ended.append(row)
        return ended

    def abandon(self) -> None:
        self._context.clear()
        self._slots.forget()

    def _put_on(self, adapter: AdapterRef | None) -> None:
        key, pointer = self._adapters.load(adapter)
        if key != self._key:
            self._context.put_on(pointer)
        self._key, self._adapter = key, adapter

    def _take_off(self) -> None:
        self._context.put_on(None)
        self._key = BASE_KEY

    def _pieces(self) -> list[Piece]:
        """What to read next: first every row's newest token, then of prompts what fits."""
        room = BATCH_TOKENS
        pieces = []
        for slot in sorted(
            self._slots.busy, key=lambda slot: (len(slot.pending) > 1, slot.used_at)
        ):
            tokens = slot.pending[:room]
            if tokens:
                whole = len(tokens) == len(slot.pending)
                pieces.append(Piece(slot.index, len(slot.tokens), tokens, whole))
                room -= len(tokens)
        return sorted(pieces, key=lambda piece: piece.sequence)


def _layout(model: NativeModel, settings: LlamaSettings) -> tuple[int, int]:
    """The context of each slot in tokens, and how many slots there are."""
    cell = model.cell_bytes * (2 if settings.precision == "float32" else 1)
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
