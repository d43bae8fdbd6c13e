"""How much memory a base model takes to serve, and whether this machine has it.

Weights by their precision or quantisation, the key-value cache at a context, and what the worker
takes besides: its libraries, and the scores of one block of the prompt over the vocabulary.
"""

from __future__ import annotations

from typing import Literal

from rune_engine.hardware import Accelerator, Hardware
from rune_engine.model_store.catalogue import CATALOGUE, CatalogueModel
from rune_engine.model_store.shapes import ModelShape
from rune_engine.models.base import Model

Fit = Literal["fits", "tight", "too large"]

CONTEXT = 8192
"""Tokens that are reckoned with where the configuration names no context."""
_NF4_BYTES = 0.57
_SMALL_MODEL_PARAMETERS = 100_000_000
"""Below it a model runs in float32 on a processor, as the worker does."""
_TORCH_BYTES = 600 * 1024**2
"""A worker with its libraries and no model; on an accelerator, its context there."""
_LLAMA_BYTES = 150 * 1024**2
_BLOCK = 512
"""Tokens of a prompt that are worked on at once."""
_ROOM = 0.9
"""The share of free memory that a model may take."""
_METADATA_BYTES = 6_000_000
"""A GGUF file's vocabulary and merges."""
_Q4_K, _Q5_0, _Q6_K, _Q8_0 = 4.5, 5.5, 6.5625, 8.5
"""Bits a weight. Blocks of `K` kinds are 256 wide; narrower rows fall back to the next one up."""


class Need(Model):
    """Bytes that serving takes, by what for."""

    weights: int
    cache: int
    working: int
    context: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.working


class Verdict(Model):
    """Whether a need is met, and by what. `tight`: only if other programs give memory back."""

    fit: Fit
    needed_bytes: int
    available_bytes: int
    total_bytes: int
    place: str


def need_of_safetensors(
    shape: ModelShape, precision: str, hardware: Hardware, context: int | None = None
) -> Need:
    """What Transformers takes for a model of that shape on that machine."""
    each = _bytes_computed_in(precision, shape.parameters, hardware)
    quantised = 0
    if precision == "nf4":  # the vocabulary's matrices stay as they are
        quantised = shape.parameters - shape.embedding * (1 if shape.tied else 2)
    weights = each * (shape.parameters - quantised) + _NF4_BYTES * quantised
    return _need(shape, int(weights), _TORCH_BYTES, context, each)


def _bytes_computed_in(precision: str, parameters: int, hardware: Hardware) -> int:
    """Bytes of a number that the worker computes with: 4 for float32, 2 for bfloat16."""
    if precision in ("float32", "bfloat16"):
        return 4 if precision == "float32" else 2
    on_processor = best_accelerator(hardware) is None
    small = precision == "auto" and parameters < _SMALL_MODEL_PARAMETERS
    return 4 if on_processor and (small or not hardware.fast_bfloat16) else 2


def need_of_gguf(shape: ModelShape, file_bytes: int, context: int | None = None) -> Need:
    """What llama.cpp takes for a file of that size, with a 16-bit cache."""
    return _need(shape, file_bytes, _LLAMA_BYTES, context, 2)


def gguf_bytes(shape: ModelShape, quantisation: str) -> int:
    """About how large a GGUF file is; within a few per cent of what llama.cpp writes.

    Raises:
        KeyError: a quantisation that is not in the catalogue.
    """
    bits = {"q8_0": _bits_in_q8_0, "q4_k_m": _bits_in_q4_k_m}[quantisation](shape)
    return int(bits / 8) + _METADATA_BYTES


def judge(need: Need, hardware: Hardware, *, on_accelerator: bool) -> Verdict:
    """Whether the machine has it: on its largest accelerator, or in its main memory."""
    device = best_accelerator(hardware) if on_accelerator else None
    if device is not None:
        free = device.free_bytes if device.free_bytes is not None else device.memory_bytes
        total, place = device.memory_bytes, device.name
    else:
        free, total, place = hardware.memory_available_bytes, hardware.memory_bytes, "main memory"
    fit: Fit = "too large"
    if need.total <= free * _ROOM:
        fit = "fits"
    elif need.total <= total * _ROOM:
        fit = "tight"
    return Verdict(
        fit=fit, needed_bytes=need.total, available_bytes=free, total_bytes=total, place=place
    )


def best_accelerator(hardware: Hardware) -> Accelerator | None:
    """The accelerator with the most memory that PyTorch calls `cuda`; Apple's is not used yet."""
    usable = [each for each in hardware.accelerators if not each.shares_memory]
    return max(usable, key=lambda each: each.memory_bytes, default=None)


def recommend(hardware: Hardware, context: int | None = None) -> tuple[CatalogueModel, str] | None:
    """The largest model that fits and answers at a bearable pace, and why; None where none fits.

    Without an accelerator every word moves all weights through the processor, so the size is
    bounded by the cores as well.
    """
    device = best_accelerator(hardware)
    most = _most_parameters(hardware) if device is None else None
    for model in reversed(CATALOGUE):
        need = need_of_safetensors(model.shape, "auto", hardware, context)
        verdict = judge(need, hardware, on_accelerator=device is not None)
        if verdict.fit != "fits" or (most is not None and model.shape.parameters > most):
            continue
        if device is not None:
            return model, f"the largest that fits in {device.name}"
        return model, f"fits, and {hardware.cores} cores without an accelerator can keep up with it"
    return None


def _most_parameters(hardware: Hardware) -> float:
    per_core = 0.4e9
    return max(0.6e9, min(4e9, hardware.cores * per_core))


def _need(shape: ModelShape, weights: int, base: int, context: int | None, bytes_each: int) -> Need:
    tokens = min(shape.context, context or CONTEXT)
    scores = 4 * shape.vocabulary * _BLOCK
    cache = shape.cache_bytes(tokens, bytes_each)
    return Need(weights=weights, cache=cache, working=base + scores, context=tokens)


def _bits_in_q8_0(shape: ModelShape) -> float:
    return shape.parameters * _Q8_0


def _bits_in_q4_k_m(shape: ModelShape) -> float:
    """The down projection and the values have more bits in half of the layers, the output always.

    Where a row is no multiple of 256 wide, 4-bit blocks become `Q5_0` and 6-bit ones `Q8_0`.
    """
    wide, inner_wide = shape.hidden % 256 == 0, shape.inner % 256 == 0
    low, high = (_Q4_K, _Q6_K) if wide else (_Q5_0, _Q8_0)
    inner = (_Q4_K + _Q6_K) / 2 if inner_wide else (_Q5_0 + _Q8_0) / 2
    queries = 2 * shape.hidden * shape.heads * shape.head_size
    keys = shape.hidden * shape.kv_heads * shape.head_size
    layer = low * (queries + keys + 2 * shape.hidden * shape.inner)
    layer += keys * (low + high) / 2 + shape.hidden * shape.inner * inner
    vocabulary = shape.embedding * (high if shape.tied else low + high)
    return shape.layers * layer + vocabulary
