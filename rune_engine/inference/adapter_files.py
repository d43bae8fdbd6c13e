"""May this adapter's folder be loaded? Asked before any library reads it.

PEFT obeys whatever `adapter_config.json` says, and some of it changes the shared base model
(`init_lora_weights: "pissa"`, `layer_replication`) or everybody's answers (`lora_alpha: NaN`).
This module knows the standard library and the error tree, and nothing of torch or PEFT.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rune_engine.errors import (
    AdapterBaseModelMismatchError,
    AdapterCorruptedError,
    AdapterUnsupportedError,
)
from rune_engine.inference.provider import AdapterRef

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def check_base_model(adapter: AdapterRef, base_model_id: str) -> None:
    """Refuse an adapter that was made for another base model.

    Raises:
        AdapterBaseModelMismatchError: it was.
    """
    if adapter.base_model_id != base_model_id:
        raise AdapterBaseModelMismatchError(
            f"Adapter {adapter.id} was made for the base model {adapter.base_model_id!r}, "
            f"not for {base_model_id!r}.",
            next_step="Choose an adapter of this base model, or run with the adapter's own.",
        )


def check_weights(adapter: AdapterRef) -> None:
    """Refuse weights that are missing or are not the bytes that the reference names.

    Raises:
        AdapterCorruptedError: they are.
    """
    weights = adapter.path / WEIGHTS
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _corrupted(adapter, f"its weights cannot be read ({error.strerror})") from error
    if digest != adapter.sha256:
        raise _corrupted(adapter, f"its weights hash to {digest}, not {adapter.sha256}")


def check_config(adapter: AdapterRef, *, dora: bool = False) -> None:
    """Refuse a configuration that is not a plain LoRA, nor a DoRA that the back-end can run.

    Args:
        dora: whether the back-end can run DoRA, which rescales the base model's own weights.

    Raises:
        AdapterUnsupportedError: it is a DoRA, and the back-end cannot run one.
        AdapterCorruptedError: it is missing, unreadable, or asks for more than that.
    """
    try:
        config = json.loads((adapter.path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _corrupted(adapter, f"its {CONFIG} cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise _corrupted(adapter, f"its {CONFIG} is not an object")
    if config.get("use_dora") is True and not dora:
        raise AdapterUnsupportedError(
            f"Adapter {adapter.id} is a DoRA, which this back-end cannot run: it rescales the base "
            "model's own weights, and no LoRA says the same.",
            next_step="Serve it with the Transformers back-end, or distill again with the method "
            "`lora` or `qlora`.",
        )
    for key, allowed in _PLAIN_LORA.items():
        if not allowed(config.get(key)):
            raise _corrupted(adapter, f"its {CONFIG} sets {key} to {config.get(key)!r}")


def adapter_key(adapter: AdapterRef) -> str:
    """A name for the loaded adapter that no other bytes can have.

    The weights' hash alone would not do: two write-once folders may hold equal weights and
    different configurations.
    """
    path = str(Path(adapter.path).absolute())
    return hashlib.sha256(f"{adapter.sha256}\n{path}".encode()).hexdigest()[:32]


def _corrupted(adapter: AdapterRef, reason: str) -> AdapterCorruptedError:
    return AdapterCorruptedError(
        f"Adapter {adapter.id} cannot be loaded: {reason}.",
        next_step="Distill it again, or restore its folder from a backup.",
    )


def _absent(value: Any) -> bool:
    return not value


def _positive_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _module_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


_PLAIN_LORA: dict[str, Callable[[Any], bool]] = {
    "peft_type": lambda value: value == "LORA",
    "r": _positive_int,
    "lora_alpha": _finite,
    "target_modules": _module_names,
    "init_lora_weights": lambda value: value is None or isinstance(value, bool),
    "bias": lambda value: value in (None, "none"),
    "use_dora": lambda value: value is None or isinstance(value, bool),
    "layer_replication": _absent,
    "modules_to_save": _absent,
    "trainable_token_indices": _absent,
    "megatron_config": _absent,
}
