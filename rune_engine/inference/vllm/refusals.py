"""Adapters that vLLM would refuse, or load and then answer wrongly with: told before it sees them.

vLLM (0.32) ignores tensors for layers that the model does not have, and loads pairs whose rank is
not the configured one or that are no floats; each answers with something that nobody trained.
Knows an adapter's two files and the base model's shapes; nothing of HTTP.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rune_engine.errors import AdapterCorruptedError, AdapterUnsupportedError, InvalidInputError
from rune_engine.inference.adapter_files import CONFIG, WEIGHTS, check_adapter
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm.headers import TensorHeader, read_header
from rune_engine.inference.vllm.replies import ServerFacts

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be."""

Shapes = Mapping[str, tuple[int, ...] | None]

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_FLOATS = ("F32", "F16", "BF16")
_NEVER_TARGETS = ("embed_tokens", "lm_head")
_MEANINGLESS = ("modules_to_save", "lora_bias", "alora_invocation_tokens", "layer_replication")
_VARIANTS = {"use_dora": "DoRA", "use_qalora": "QALoRA", "use_bdlora": "BD-LoRA"}
_HARMLESS_INITS = ("gaussian", "eva", "orthogonal")


def check_servable(adapter: AdapterRef, facts: ServerFacts, shapes: Shapes) -> None:
    """Refuse an adapter that this server cannot answer with as PEFT would.

    What is sound and merely not for vLLM is told first, and told as that.

    Raises:
        AdapterUnsupportedError: vLLM has not got what it asks for.
        AdapterCorruptedError: its files are not those of a LoRA for this base model.
    """
    config = _config(adapter)
    if reasons := list(_unsupported(config, facts)):
        raise AdapterUnsupportedError(
            f"vLLM cannot serve adapter {adapter.id}: {'; '.join(reasons)}.",
            next_step="Use the Transformers back-end for it"
            + (", or start the server with more --max-rank." if "rank" in reasons[-1] else "."),
        )
    check_adapter(adapter)
    try:
        _check_numbers(config)
        _check_tensors(read_header(adapter.path / WEIGHTS), config, shapes)
    except (ValueError, re.error) as error:
        raise _corrupted(adapter, f"its weights are not those of its {CONFIG}: {error}") from error


def _config(adapter: AdapterRef) -> dict[str, Any]:
    try:
        config = json.loads((adapter.path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _corrupted(adapter, f"its {CONFIG} cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise _corrupted(adapter, f"its {CONFIG} is not an object")
    return config


def _unsupported(config: Mapping[str, Any], facts: ServerFacts) -> Iterator[str]:
    yield from (f"{name} is not supported" for key, name in _VARIANTS.items() if config.get(key))
    yield from (f"{key} is not supported" for key in _MEANINGLESS if config.get(key))
    if config.get("bias") not in (None, "none"):
        yield "trained biases are not supported"
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in _HARMLESS_INITS:
        yield f"init_lora_weights {init!r} changes the base model"
    targets = config.get("target_modules")
    named = targets if isinstance(targets, list) else [targets]
    yield from (f"{name} cannot be a target" for name in _NEVER_TARGETS if name in named)
    rank = _highest_rank(config)
    most = facts.max_rank or RANKS[-1]
    if rank > most:
        yield f"its rank {rank} is above the server's {most}"


def _highest_rank(config: Mapping[str, Any]) -> int:
    pattern = config.get("rank_pattern")
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    return max((rank for rank in ranks if isinstance(rank, int)), default=0)


def _check_tensors(
    tensors: Mapping[str, TensorHeader], config: Mapping[str, Any], shapes: Shapes
) -> None:
    """Every tensor is one half of a pair, of the configured rank, that fits its module."""
    pairs: dict[str, dict[str, TensorHeader]] = {}
    for name, tensor in tensors.items():
        matched = _TENSOR.fullmatch(name)
        if matched is None:
            raise ValueError(f"{name} is no part of a plain LoRA")
        if tensor.dtype not in _FLOATS or len(tensor.shape) != 2:
            raise ValueError(f"{name} is {tensor.dtype} of shape {list(tensor.shape)}")
        pairs.setdefault(matched["module"], {})[matched["side"]] = tensor
    if not pairs:
        raise ValueError("there is nothing in them")
    for module, pair in pairs.items():
        if pair.keys() != {"A", "B"}:
            raise ValueError(f"{module} has only one half of its pair")
        _check_pair(module, pair["A"].shape, pair["B"].shape, _rank(config, module))
        _check_fit(module, pair["A"].shape[1], pair["B"].shape[0], shapes)


def _check_pair(module: str, a: tuple[int, ...], b: tuple[int, ...], rank: int) -> None:
    if a[0] != rank or b[1] != rank:
        raise ValueError(f"{module} has ranks {a[0]} and {b[1]}, and not {rank}")


def _check_fit(module: str, inputs: int, outputs: int, shapes: Shapes) -> None:
    if module not in shapes:
        raise ValueError(f"the base model has no {module}")
    shape = shapes[module]
    if shape is not None and shape != (outputs, inputs):
        raise ValueError(f"{module} is {list(shape)} in the base model, not {[outputs, inputs]}")


def _rank(config: Mapping[str, Any], module: str) -> int:
    """PEFT's rule: the first pattern that matches the end of the module's name at a dot."""
    for pattern, rank in (config.get("rank_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return int(rank)
    return int(config["r"])


def _check_numbers(config: Mapping[str, Any]) -> None:
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    if not isinstance(ranks, dict) or not isinstance(alphas, dict):
        raise ValueError("a pattern is no object")
    for value in [*ranks.values(), *alphas.values()]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is no number")
        if not math.isfinite(value):
            raise ValueError(f"{value!r} is no finite number")


def rounded_rank(rank: int) -> int:
    """The smallest rank that the server can be started with for adapters of this one.

    Raises:
        InvalidInputError: vLLM serves none as high.
    """
    for allowed in RANKS:
        if allowed >= rank:
            return allowed
    raise InvalidInputError(f"vLLM serves no rank above {RANKS[-1]}; {rank} is.")


def _corrupted(adapter: AdapterRef, reason: str) -> AdapterCorruptedError:
    return AdapterCorruptedError(
        f"Adapter {adapter.id} cannot be loaded: {reason}.",
        next_step="Distill it again, or restore its folder from a backup.",
    )
