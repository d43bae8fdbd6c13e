"""Keeps the base model's answers its own where a batch mixes them with adapters'.

vLLM on a processor (0.32; pull requests 48421 and 49656) looks a row without an adapter up at index
-1, which is its last adapter slot: next to a row with an adapter, a base row is answered from
somebody's memory. So, there, a base request that meets adapters, or comes soon after one, goes as
an adapter of zeros, and an adapter waits until the base requests before it are answered. On a GPU
nothing of this happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rune_engine.errors import InvalidInputError
from rune_engine.inference.adapter_files import CONFIG, WEIGHTS
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm.base_shapes import Shapes
from rune_engine.inference.vllm.loaded import LoadedAdapters

NO_ADAPTER = "(no adapter)"
"""The id of the adapter of zeros; no adapter of the registry can have it."""

_PROJECTIONS = ("q_proj", "o_proj", "down_proj", "gate_proj", "c_attn", "qkv_proj")
_FLOAT_BYTES = 4
_SOON_SECONDS = 10.0
"""Zeros take longer than no adapter, but less long than adapters that wait for base requests."""


class Names:
    """Under which name of the server a request is to be made.

    Args:
        base: the server's name for the base model.
        zeros: an adapter that changes nothing, where base requests need one.
    """

    def __init__(self, base: str, adapters: LoadedAdapters, zeros: AdapterRef | None) -> None:
        self._base = base
        self._adapters = adapters
        self._zeros = zeros
        self._plain = 0
        self._with_adapters = 0
        self._no_plain = asyncio.Event()
        self._zeros_until = 0.0

    @asynccontextmanager
    async def using(self, adapter: AdapterRef | None) -> AsyncIterator[str]:
        """The name for a request with `adapter`, or none; it is valid for the time of the block."""
        now = time.monotonic()
        if adapter is not None:
            self._zeros_until = now + _SOON_SECONDS
        meets_adapters = self._with_adapters > 0 or now < self._zeros_until
        wanted = adapter or (self._zeros if meets_adapters else None)
        if wanted is None:
            async with self._without() as name:
                yield name
        elif self._zeros is None:
            async with self._adapters.using(wanted) as name:
                yield name
        else:
            async with self._apart(wanted) as name:
                yield name

    @asynccontextmanager
    async def _without(self) -> AsyncIterator[str]:
        self._plain += 1
        try:
            yield self._base
        finally:
            self._plain -= 1
            self._no_plain.set()

    @asynccontextmanager
    async def _apart(self, adapter: AdapterRef) -> AsyncIterator[str]:
        """A request that must not meet one under the base model's own name.

        One that fails or is cancelled once it was sent counts for the rest of the connection:
        nobody tells when the server has let go of its row.
        """
        self._with_adapters += 1
        sent = False
        try:
            while self._plain:
                self._no_plain.clear()
                await self._no_plain.wait()
            async with self._adapters.using(adapter) as name:
                sent = True
                yield name
                sent = False
        finally:
            if not sent:
                self._with_adapters -= 1


def make_zeros(folder: Path, base_model_id: str, shapes: Shapes) -> AdapterRef:
    """Write an adapter of rank 1 whose answers are the base model's. Blocks.

    Raises:
        InvalidInputError: the base model has no projection of a name that is known here.
    """
    module, outputs, inputs = _projection(base_model_id, shapes)
    header, start = {}, 0
    for side, shape in (("A", [1, inputs]), ("B", [outputs, 1])):
        end = start + shape[0] * shape[1] * _FLOAT_BYTES
        name = f"base_model.model.{module}.lora_{side}.weight"
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    weights = len(text).to_bytes(8, "little") + text + bytes(start)
    target = module.rpartition(".")[2]
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [target]}
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return AdapterRef(NO_ADAPTER, folder, hashlib.sha256(weights).hexdigest(), base_model_id)


def _projection(base_model_id: str, shapes: Shapes) -> tuple[str, int, int]:
    for module, shape in shapes.items():
        if shape is not None and len(shape) == 2 and module.rpartition(".")[2] in _PROJECTIONS:
            return module, shape[0], shape[1]
    raise InvalidInputError(
        f"vLLM would mix up the answers of {base_model_id!r} and of its adapters on a processor, "
        "and Rune knows no layer of it to prevent that with.",
        next_step="Serve it with the Transformers back-end.",
    )
