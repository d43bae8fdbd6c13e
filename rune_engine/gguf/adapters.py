"""A PEFT adapter as a GGUF LoRA, exactly.

llama.cpp knows one alpha a file, PEFT a scale a module (rsLoRA, `rank_pattern`,
`alpha_pattern`). So each module's scale is multiplied into its B, and alpha is written as 0, which
llama.cpp takes for "B is scaled already".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import re2

from rune_engine.errors import InvalidInputError
from rune_engine.gguf import keys
from rune_engine.gguf.names import gguf_name, lora_name
from rune_engine.gguf.tensors import Out, Stored, stored_tensors, write_adapter

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_REFUSED = {
    "use_dora": "DoRA has a magnitude vector, which GGUF cannot say",
    "modules_to_save": "modules_to_save replaces whole modules, which a GGUF LoRA cannot say",
    "trainable_token_indices": "embeddings were trained, which llama.cpp does not apply",
    "layer_replication": "layer_replication adds layers to the base model",
    "lora_bias": "biases were trained, which GGUF cannot say",
    "alora_invocation_tokens": "an activated LoRA is not served",
    "fan_in_fan_out": "fan_in_fan_out is for transposed layers, which a Qwen2 does not have",
}


@dataclass(frozen=True, slots=True)
class LoraModule:
    """One adapted module: its GGUF tensor's name, A [rank, in], B [out, rank], and B's scale."""

    tensor: str
    a: Stored
    b: Stored
    scale: float

    def scaled_b(self) -> npt.NDArray[np.float32]:
        return self.b.read() * np.float32(self.scale)


def read_modules(folder: Path) -> list[LoraModule]:
    """The modules of a PEFT adapter folder, in the order of their names.

    Raises:
        InvalidInputError: it is more than a LoRA on a Qwen2's linear layers, or damaged.
    """
    config = _read_config(folder)
    sides: dict[str, dict[str, Stored]] = {}
    for name, stored in _read_weights(folder).items():
        if (found := lora_name(name)) is None:
            raise _refused(f"it has the tensor {name}, which GGUF cannot say")
        sides.setdefault(found[0], {})[found[1]] = stored
    if not sides:
        raise _refused("it has no weights")
    return [_module(config, module, pair) for module, pair in sorted(sides.items())]


def export_adapter(
    folder: Path, path: Path, *, adapter_id: str, sha256: str, base_model_id: str
) -> None:
    """Write the GGUF LoRA of the PEFT adapter in `folder`, all of it or nothing.

    Args:
        sha256: of the adapter's weights file.

    Raises:
        InvalidInputError: see `read_modules`.
        OSError: it cannot be written.
    """
    values = {
        keys.BASE_MODEL_ID: base_model_id,
        keys.ADAPTER_ID: adapter_id,
        keys.ADAPTER_SHA256: sha256,
        "general.type": "adapter",
        "general.name": adapter_id,
        "adapter.type": "lora",
        "adapter.lora.alpha": 0.0,
    }
    pairs = [tensor for module in read_modules(folder) for tensor in _pair(module)]
    write_adapter(path, "qwen2", values, pairs)


def _pair(module: LoraModule) -> Iterable[Out]:
    yield Out(f"{module.tensor}.lora_a", module.a.shape, "float32", module.a.read)
    yield Out(f"{module.tensor}.lora_b", module.b.shape, "float32", module.scaled_b)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(f"its {CONFIG} cannot be read ({error})") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _refused(f"its {CONFIG} is not that of a LoRA")
    for key, why in _REFUSED.items():
        if config.get(key):
            raise _refused(why)
    if config.get("bias", "none") != "none":
        raise _refused("biases were trained, which GGUF cannot say")
    return config


def _read_weights(folder: Path) -> dict[str, Stored]:
    try:
        return stored_tensors(folder / WEIGHTS)
    except OSError as error:
        raise _refused(f"its {WEIGHTS} cannot be read ({error.strerror})") from error


def _module(config: Mapping[str, Any], module: str, pair: Mapping[str, Stored]) -> LoraModule:
    if set(pair) != {"A", "B"}:
        raise _refused(f"{module} has only one of A and B")
    a, b = pair["A"], pair["B"]
    rank = _of_module(config, "rank_pattern", "r", module)
    if len(a.shape) != 2 or len(b.shape) != 2 or not a.shape[0] == b.shape[1] == rank:
        raise _refused(f"{module} has A {a.shape} and B {b.shape} at rank {rank}")
    scale = _of_module(config, "alpha_pattern", "lora_alpha", module)
    scale /= math.sqrt(rank) if config.get("use_rslora") else rank
    name = gguf_name(f"{module}.weight")
    assert name is not None
    return LoraModule(name, a, b, scale)


def _of_module(config: Mapping[str, Any], pattern: str, default: str, module: str) -> float:
    """A module's rank or alpha: the first pattern that its name ends with, as PEFT matches it."""
    value = config.get(default)
    for key, own in (config.get(pattern) or {}).items():
        if _matches(key, module):
            value = own
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _refused(f"its {default} is {value!r}")
    if default == "r" and value < 1:
        raise _refused(f"its rank is {value!r}")
    return value


def _matches(pattern: str, module: str) -> bool:
    """Somebody else's regular expression: re2 takes no more than linear time over it."""
    try:
        return re2.match(rf"(.*\.)?({pattern})$", module) is not None
    except re2.error as error:
        raise _refused(f"its pattern {pattern!r} cannot be read") from error


def _refused(reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"The adapter cannot be written as GGUF: {reason}.",
        next_step="Serve it with the Transformers back-end, or distill a plain LoRA.",
    )
