"""Adapters that vLLM would refuse, or load and then answer wrongly with: told before it sees them.

vLLM (0.32) ignores tensors for layers that the model does not have, and loads pairs whose rank is
not the configured one or that are no floats; each answers with something that nobody trained.
Whether an adapter is sound is asked of `adapter_files`, as everywhere; nothing of HTTP is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rune_engine.errors import AdapterUnsupportedError, InvalidInputError
from rune_engine.inference.adapter_files import CONFIG, AdapterReader, corrupted
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm.base_shapes import Shapes
from rune_engine.inference.vllm.replies import ServerFacts

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be."""

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
    for module, pair in AdapterReader().read(adapter).pairs.items():
        if reason := _misfit(module, (pair.b.shape[0], pair.a.shape[1]), shapes):
            raise corrupted(adapter, reason)


def _config(adapter: AdapterRef) -> dict[str, Any]:
    try:
        config = json.loads((adapter.path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise corrupted(adapter, f"its {CONFIG} cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise corrupted(adapter, f"its {CONFIG} is not an object")
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


def _misfit(module: str, shape: tuple[int, int], shapes: Shapes) -> str | None:
    """Why a pair of this [outputs, inputs] is not one for the base model."""
    if module not in shapes:
        return f"the base model has no {module}"
    own = shapes[module]
    if own is not None and own != shape:
        return f"{module} is {list(own)} in the base model, not {list(shape)}"
    return None


def rounded_rank(rank: int) -> int:
    """The smallest rank that the server can be started with for adapters of this one.

    Raises:
        InvalidInputError: vLLM serves none as high.
    """
    for allowed in RANKS:
        if allowed >= rank:
            return allowed
    raise InvalidInputError(f"vLLM serves no rank above {RANKS[-1]}; {rank} is.")
