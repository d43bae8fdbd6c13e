"""How much memory a training will take, and the largest setting of it that fits.

Knows a model's shape from its configuration alone: nothing is loaded to find out.

The estimate, in bytes, for n parameters, of which l in linear layers; L layers of hidden size h,
inner size i, query width q and key and value width k; an adapter of p parameters and rank r;
micro-batches of t tokens; v entries in the vocabulary:

    process     what this process holds already
    weights     c n            of c bytes each, 4 where float32 is computed in, else 2
                c (n - l) + 0.52 l                       in 4-bit NormalFloat
    adapter     24 p           weights, gradients, two moments, and copies of the best and the last
    activations t (8 h + c (2 h + 3 q + 2 k + 3 i + 7 r) + 8)    a layer, kept for the gradient
                t 4 h          a layer, and the above once, with checkpointing
    transient   t (12 h + 12 i)      the widest layer's gradient; and scores of a block of attention
    unpacked    c * the largest weight, twice, in 4-bit NormalFloat
    logits      12 * chunk
    slack       a fifth of the above but the process: kernels, allocator

Networks that are not packed keep about three times the activations: autograd's and PEFT's copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rune_engine.errors import DeviceMemoryError, TrainingError
from rune_engine.models import AdapterMethod, DistillMethod
from trainers import packed
from trainers.free_memory import free_memory, held_memory
from trainers.head import chunk_rows
from trainers.precision import computed_in
from trainers.running import Cut
from trainers.settings import DirectSettings

_NF4_BYTES = 0.52
_SLACK = 1.2
_UNPACKED_FACTOR = 3.0
_ADAPTER_BYTES = 24
_ATTENTION_ROWS = 256
_MICRO_TOKENS = 1024
"""Tokens of a micro-batch where memory is plenty: more are not faster on a processor."""
_GPU_MICRO_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class Shape:
    """What a base model's memory follows from."""

    parameters: int
    linear: int
    largest: int
    layers: int
    hidden: int
    inner: int
    queries: int
    keys: int
    heads: int
    vocabulary: int
    packs: bool
    adapter_per_rank: int
    item_bytes: int = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training is done, and the bytes that it is reckoned to add to what is held."""

    method: AdapterMethod
    cut: Cut
    needed: int
    held: int = 0

    @property
    def peak(self) -> int:
        """What the process is reckoned to hold at most; on an accelerator, what it takes there."""
        return self.held + self.needed

    def __str__(self) -> str:
        how = ", checkpointed" if self.cut.checkpointed else ""
        size = gigabytes(self.needed)
        return f"{self.method}, micro-batches of {self.cut.tokens} tokens{how}, about {size}"


def shape_of(folder: str | Path, settings: DirectSettings, device: str) -> Shape:
    """Read a model's shape from its folder's configuration."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    linear = {
        name: module
        for name, module in model.base_model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    targets = tuple(f".{target}" for target in settings.target_modules)
    adapted = [module for name, module in linear.items() if f".{name}".endswith(targets)]
    layers = max(1, int(config.num_hidden_layers))
    heads = int(config.num_attention_heads)
    head = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    packs = device == "cpu" and packed.is_known(model)
    return Shape(
        parameters=model.num_parameters(),
        linear=sum(module.weight.numel() for module in linear.values()),
        largest=max((module.weight.numel() for module in linear.values()), default=0),
        layers=layers,
        hidden=int(config.hidden_size),
        inner=int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size),
        queries=heads * head,
        keys=int(getattr(config, "num_key_value_heads", None) or heads) * head,
        heads=heads,
        vocabulary=int(config.vocab_size),
        packs=packs,
        adapter_per_rank=sum(module.in_features + module.out_features for module in adapted),
        item_bytes=computed_in(device, model.num_parameters(), packs=packs).itemsize,
    )


def estimate(
    shape: Shape, method: AdapterMethod, cut: Cut, rank: int, tokens: int, longest: int
) -> int:
    """The bytes that a training will add to what the process holds; see the module.

    Args:
        tokens: of the largest micro-batch.
        longest: tokens of the longest example.
    """
    quantised = method != "lora"
    each = shape.item_bytes
    weights = each * shape.parameters
    if quantised:
        weights = int(each * (shape.parameters - shape.linear) + _NF4_BYTES * shape.linear)
        weights += 2 * each * shape.largest
    if method == "qdora":
        weights += 12 * shape.largest + shape.layers * 4 * 7 * shape.hidden
    adapter = _ADAPTER_BYTES * rank * shape.adapter_per_rank
    moving = _activations(shape, cut, rank, tokens) + _transient(shape, tokens, longest)
    logits = 12 * min(chunk_rows(shape.vocabulary), tokens) * shape.vocabulary
    factor = 1.0 if shape.packs else _UNPACKED_FACTOR
    return int(_SLACK * (weights + adapter + factor * moving + logits))


def _activations(shape: Shape, cut: Cut, rank: int, tokens: int) -> int:
    wide = 2 * shape.hidden + 3 * shape.queries + 2 * shape.keys + 3 * shape.inner + 7 * rank
    layer = tokens * (8 * shape.hidden + shape.item_bytes * wide + 8)
    if cut.checkpointed:
        return shape.layers * tokens * 4 * shape.hidden + layer
    return shape.layers * layer


def _transient(shape: Shape, tokens: int, longest: int) -> int:
    scores = shape.heads * longest * min(longest, _ATTENTION_ROWS)
    return tokens * 12 * (shape.hidden + shape.inner) + 12 * scores


@dataclass(frozen=True, slots=True)
class Room:
    """What the trainer may still take (bytes), whether the user's own limit says so, and what it
    holds already."""

    free: int
    limited: bool = False
    held: int = 0


def room_for(device: str, limit: int | None) -> Room:
    """What is free, or what the user's limit leaves of it."""
    free = free_memory(device)
    held = held_memory() if device == "cpu" else 0
    left = free if limit is None else max(0, limit - held)
    return Room(min(free, left), limited=left < free, held=held)


def choose(
    shape: Shape,
    settings: DirectSettings,
    lengths: Sequence[int],
    method: DistillMethod,
    room: Room,
) -> Plan:
    """The first setting that fits: smaller micro-batches, then checkpointing, then 4 bits.

    Args:
        lengths: tokens of each example.
        method: "auto" and "direct" may become "qlora" where that alone fits.

    Raises:
        TrainingError: nothing fits into the user's limit.
        DeviceMemoryError: nothing fits into what is free now.
    """
    plan = None
    for plan in _plans(shape, settings, lengths, method):
        if plan.needed <= room.free:
            return replace(plan, held=room.held)
    assert plan is not None
    raise _too_little(plan, room, method)


def _plans(
    shape: Shape, settings: DirectSettings, lengths: Sequence[int], method: DistillMethod
) -> Iterator[Plan]:
    longest = max(lengths)
    whole = longest * (settings.batch_size + settings.rehearsal)
    most = min(whole, _MICRO_TOKENS if shape.packs else _GPU_MICRO_TOKENS)
    for chosen in _methods(method):
        for checkpointed in (False, True):
            tokens = max(most, longest)
            while True:
                cut = Cut(tokens, checkpointed)
                needed = estimate(shape, chosen, cut, settings.rank, tokens, longest)
                yield Plan(chosen, cut, needed)
                if tokens == longest:
                    break
                tokens = max(tokens // 2, longest)


def _methods(method: DistillMethod) -> list[AdapterMethod]:
    if method != "auto" and method != "direct":
        return [method]
    return ["lora", "qlora"] if find_spec("bitsandbytes") else ["lora"]


def _too_little(plan: Plan, room: Room, method: DistillMethod) -> TrainingError | DeviceMemoryError:
    whose = "its limit leaves" if room.limited else "is free"
    message = (
        f"The training needs about {gigabytes(plan.needed)} of memory even with {plan.method}, "
        f"micro-batches of {plan.cut.tokens} tokens and checkpointing; {gigabytes(room.free)} "
        f"{whose}."
    )
    ways = ["use a smaller base model", "give a lower `rank`"]
    if method == "lora":
        ways.insert(0, "give the method `qlora`")
    elif method != plan.method and plan.method == "lora":
        ways.insert(0, 'install 4-bit training with: pip install "rune-mcp[qlora]"')
    ways.insert(0, "raise `training_memory_bytes`" if room.limited else "close other programs")
    next_step = f"{', or '.join(ways)}.".capitalize()
    return (TrainingError if room.limited else DeviceMemoryError)(message, next_step=next_step)


def gigabytes(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e9:.1f} GB"
