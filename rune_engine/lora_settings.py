"""Which `adapter_config.json` may be served, and what it says of each module.

PEFT obeys whatever stands there, and some of it changes the shared base model
(`init_lora_weights: "pissa"`, `layer_replication`) or everybody's answers (`lora_alpha: NaN`).
A plain LoRA with patterns of ranks and alphas is served, and DoRA; whatever else is switched on is
refused. Knows JSON; nothing of files, torch or PEFT. Asked for serving and for merging.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
)

from rune_engine.tensor_files import without_duplicates

_Value = TypeVar("_Value", int, float)
_INERT = {"megatron_core": "megatron.core", "qalora_group_size": 16}
"""What PEFT always writes, and what does nothing while the feature it belongs to is off."""


def _number(value: Any) -> Any:
    """Keeps an integer that no float can hold from passing for a finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it is not a number")
    return value if abs(value) <= 1e30 else math.nan


_Rank = Annotated[int, Field(ge=1, le=4096)]
_Alpha = Annotated[FiniteFloat, BeforeValidator(_number)]
_Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]+$", max_length=500)]
_Pattern = Annotated[str, StringConstraints(pattern=r"^\^?[A-Za-z0-9_.]+$", max_length=500)]
_Library = Annotated[str, StringConstraints(pattern=r"^transformers(\.[A-Za-z0-9_]+)*$")]


class _AutoMapping(BaseModel):
    """Names the class that the adapter was trained on; nothing of Rune's imports it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    base_model_class: str | None = None
    parent_library: _Library | None = None


class LoraSettings(BaseModel):
    """A plain LoRA: the keys of PEFT's configuration that may have a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    peft_type: Literal["LORA"]
    r: _Rank
    lora_alpha: _Alpha
    target_modules: Annotated[list[_Module], Field(min_length=1, max_length=2000)]
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: dict[_Pattern, _Rank] = {}
    alpha_pattern: dict[_Pattern, _Alpha] = {}
    bias: Literal["none"] = "none"
    init_lora_weights: bool = True
    lora_dropout: Annotated[FiniteFloat, BeforeValidator(_number), Field(ge=0.0, le=1.0)] = 0.0
    fan_in_fan_out: bool = False
    inference_mode: bool = True
    task_type: Literal["CAUSAL_LM"] | None = None
    peft_version: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    auto_mapping: _AutoMapping | None = None

    def targets(self, module: str) -> bool:
        """Whether `module`, a path within the base model, is one that the adapter is for."""
        return any(f".{module}".endswith(f".{target}") for target in self.target_modules)

    def rank(self, module: str) -> int:
        return _of_pattern(self.rank_pattern, module, self.r)

    def scaling(self, module: str) -> float:
        """What the product of the module's matrices is multiplied by."""
        rank = self.rank(module)
        alpha = _of_pattern(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def parse_lora_settings(content: bytes) -> LoraSettings:
    """Read the bytes of an `adapter_config.json`.

    Raises:
        ValueError: it is not a plain LoRA's; the message says why.
    """
    try:
        config = json.loads(content.decode("utf-8"), object_pairs_hook=without_duplicates)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(config, dict):
        raise ValueError("it is not an object")
    known = LoraSettings.model_fields
    kept = {key: value for key, value in config.items() if not _is_off(key, value) or key in known}
    given = {key: value for key, value in kept.items() if value is not None or key == "peft_type"}
    try:
        return LoraSettings.model_validate(given)
    except ValidationError as error:
        raise ValueError("; ".join(map(_told, error.errors()[:3]))) from error


def _is_off(key: str, value: Any) -> bool:
    return value is None or value is False or value in ({}, []) or _INERT.get(key) == value


def _told(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))[:200]
    if problem["type"] == "missing":
        return f"it lacks {where}"
    value = problem["input"]
    shown = repr(value)[:100] if isinstance(value, str | int | float) else type(value).__name__
    return f"it sets {where} to {shown} ({problem['msg']})"


def _of_pattern(pattern: dict[str, _Value], module: str, default: _Value) -> _Value:
    """The first entry for `module`: PEFT's expressions, of which only names are let in."""
    for name, value in pattern.items():
        whole = name.startswith("^")
        if module == name[1:] if whole else f".{module}".endswith(f".{name}"):
            return value
    return default
