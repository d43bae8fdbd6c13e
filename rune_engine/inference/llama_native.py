"""llama.cpp by its C interface: a model, one context with many sequences, adapters put on it.

Runs in the worker process only. Knows pointers and arrays; nothing of requests, and nothing of
whether a file may be read: `rune_engine.gguf.checks` has said so before.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np
import numpy.typing as npt

from rune_engine.errors import InferenceError

BATCH_TOKENS = 512
"""The most tokens of one decode: a cancel is heard between two of them."""
_ERROR_LEVEL = 4
_said: deque[str] = deque(maxlen=5)


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _hear(level: int, text: bytes, _data: Any) -> None:
    if level >= _ERROR_LEVEL and level != 5:  # 5 goes on with the line before
        _said.append(text.decode(errors="replace").strip())


def _failed(what: str) -> InferenceError:
    said = f" It says: {_said[-1]}" if _said else ""
    return InferenceError(
        f"llama.cpp {what}.{said}",
        next_step="If this repeats, the file or the context does not suit this machine.",
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens to be read into a sequence, from `position` on.

    `wants_logits` asks what follows the last of them.
    """

    sequence: int
    position: int
    tokens: Sequence[int]
    wants_logits: bool


class NativeModel:
    """A base model file in memory."""

    def __init__(self, path: Path) -> None:
        llama.llama_log_set(_hear, ctypes.c_void_p(0))
        llama.llama_backend_init()
        settings = llama.llama_model_default_params()
        settings.check_tensors = True
        self.pointer = llama.llama_model_load_from_file(os.fsencode(path), settings)
        if not self.pointer:
            raise _failed(f"cannot load {path}")
        self.vocabulary = llama.llama_model_get_vocab(self.pointer)
        self.vocabulary_size = int(llama.llama_vocab_n_tokens(self.vocabulary))
        self.trained_context = int(llama.llama_model_n_ctx_train(self.pointer))

    @property
    def cell_bytes(self) -> int:
        """What one token takes in the key-value memory, in half precision."""
        heads = llama.llama_model_n_head(self.pointer)
        width = llama.llama_model_n_embd(self.pointer) // heads
        kv_heads = llama.llama_model_n_head_kv(self.pointer)
        return int(llama.llama_model_n_layer(self.pointer) * 2 * width * kv_heads * 2)

    def tokens(self, text: str, *, special: bool) -> list[int]:
        """The token ids of a text; `special` lets it spell special ones."""
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        found = (llama.llama_token * room)()
        count = llama.llama_tokenize(self.vocabulary, raw, len(raw), found, room, False, special)
        if count < 0:
            raise _failed("cannot tokenise the text")
        return list(found[:count])

    def piece(self, token: int) -> bytes:
        """A token's bytes; none for a special one."""
        buffer = ctypes.create_string_buffer(512)
        size = llama.llama_token_to_piece(self.vocabulary, token, buffer, 512, 0, False)
        return buffer.raw[: max(size, 0)]

    def ends_answer(self, token: int) -> bool:
        """Whether llama.cpp takes a token for an end of generation."""
        return bool(llama.llama_vocab_is_eog(self.vocabulary, token))

    def load_adapter(self, path: Path) -> Any:
        """An adapter's pointer, to be given to `free_adapter`."""
        pointer = llama.llama_adapter_lora_init(self.pointer, os.fsencode(path))
        if not pointer:  # a null pointer is an object, too
            raise _failed(f"cannot load {path}")
        return pointer


def free_adapter(pointer: Any) -> None:
    """Free an adapter that is on no context."""
    llama.llama_adapter_lora_free(pointer)


class NativeContext:
    """Key-value memory of one model for `sequences` sequences, and the adapter it decodes with.

    Args:
        context: tokens that each sequence can hold.
        sequences: neighbours among them are decoded faster together.
        exact: keep keys and values in float32; by default they are rounded to half of it.
    """

    def __init__(
        self,
        model: NativeModel,
        *,
        context: int,
        sequences: int,
        threads: int,
        exact: bool = False,
    ) -> None:
        settings = llama.llama_context_default_params()
        settings.n_ctx = context * sequences
        settings.n_batch = settings.n_ubatch = BATCH_TOKENS
        settings.n_seq_max = sequences
        settings.n_threads = settings.n_threads_batch = threads
        # Sequences that share memory pay for each other's attention, idle ones' too; and flash
        # attention sums in half precision, and is slower here on a CPU.
        settings.kv_unified = False
        settings.flash_attn_type = 0 if not llama.llama_supports_gpu_offload() else -1
        if exact:
            settings.type_k = settings.type_v = llama.GGML_TYPE_F32
        settings.no_perf = True
        self._pointer = llama.llama_init_from_model(model.pointer, settings)
        if not self._pointer:
            raise _failed(f"has no memory for {sequences} contexts of {context} tokens")
        self._memory = llama.llama_get_memory(self._pointer)
        self._row = ctypes.c_float * model.vocabulary_size
        self._batch = _Batch(BATCH_TOKENS)
        self._adapter: Any = None

    def put_on(self, adapter: Any) -> None:
        """Decode with this adapter from now on; None is the base model alone."""
        if adapter is None:
            status = llama.llama_set_adapters_lora(self._pointer, None, 0, None)
        else:
            one, scale = (llama.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
            status = llama.llama_set_adapters_lora(self._pointer, one, 1, scale)
        if status != 0:
            raise _failed("cannot put the adapter on")

    def keep(self, sequence: int, tokens: int) -> bool:
        """Forget all but the first tokens of a sequence; False when that could not be done."""
        return bool(llama.llama_memory_seq_rm(self._memory, sequence, tokens, -1))

    def clear(self) -> None:
        """Forget every sequence."""
        llama.llama_memory_clear(self._memory, True)

    def decode(self, pieces: Sequence[Piece]) -> list[npt.NDArray[np.float32]]:
        """Read all pieces at once.

        Returns:
            The logits after each piece that wants them, in their order. They are llama.cpp's own
            memory: gone with the next call.

        Raises:
            InferenceError: llama.cpp refused; what the sequences hold is not known any more.
        """
        rows = self._batch.fill(pieces)
        status = llama.llama_decode(self._pointer, self._batch.struct)
        if status != 0:
            raise _failed(f"failed to decode (status {status})")
        return [self._logits(row) for row in rows]

    def _logits(self, row: int) -> npt.NDArray[np.float32]:
        pointer = llama.llama_get_logits_ith(self._pointer, row)
        values = self._row.from_address(ctypes.addressof(pointer.contents))
        # as_array makes a new type each time: 30 us
        return np.frombuffer(memoryview(values), np.float32)


class _Batch:
    """A llama_batch whose arrays are numpy's, so that filling it takes no loop over tokens."""

    def __init__(self, tokens: int) -> None:
        self.struct = llama.llama_batch_init(tokens, 0, 1)
        self._token = np.ctypeslib.as_array(self.struct.token, (tokens,))
        self._position = np.ctypeslib.as_array(self.struct.pos, (tokens,))
        self._sequence = np.zeros(tokens, np.int32)
        counts = np.ctypeslib.as_array(self.struct.n_seq_id, (tokens,))
        counts[:] = 1
        self._logits = np.ctypeslib.as_array(
            ctypes.cast(self.struct.logits, ctypes.POINTER(ctypes.c_int8)), (tokens,)
        )
        first = self._sequence.ctypes.data
        for index in range(tokens):  # each token's list of sequences is one number of our array
            address = first + index * self._sequence.itemsize
            self.struct.seq_id[index] = ctypes.cast(address, ctypes.POINTER(ctypes.c_int32))

    def fill(self, pieces: Sequence[Piece]) -> list[int]:
        """Put the pieces in; where in the batch the tokens are whose logits are wanted."""
        rows = []
        at = 0
        for piece in pieces:
            end = at + len(piece.tokens)
            self._token[at:end] = piece.tokens
            self._position[at:end] = np.arange(piece.position, piece.position + end - at)
            self._sequence[at:end] = piece.sequence
            self._logits[at:end] = 0
            if piece.wants_logits:
                self._logits[end - 1] = 1
                rows.append(end - 1)
            at = end
        self.struct.n_tokens = at
        return rows
