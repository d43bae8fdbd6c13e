"""Which `adapter_config.json` Rune accepts, and its one canonical spelling.

PEFT's format can import modules, name repositories to download, carry regular expressions and
rewrite the base model. What is accepted here is a plain LoRA, or DoRA; the rest is refused before
any loader sees it. Knows nothing of files.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from rune_engine.errors import InvalidInputError

_ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]+$", max_length=200)]
_INERT = {"megatron_core": "megatron.core", "qalora_group_size": 16}
"""What PEFT always writes, and what does nothing while the feature it belongs to is off."""


class LoraAdapterConfig(BaseModel):
    """A plain LoRA or DoRA: the keys of PEFT's configuration that may have a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    peft_type: Literal["LORA"]
    peft_version: str | None = None
    task_type: Literal["CAUSAL_LM"] | None = "CAUSAL_LM"
    base_model_name_or_path: str | None = None
    revision: str | None = None
    r: Annotated[int, Field(ge=1, le=256)]
    lora_alpha: int | FiniteFloat
    lora_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    target_modules: Annotated[list[_ModuleName], Field(min_length=1, max_length=1000)]
    bias: Literal["none"] = "none"
    fan_in_fan_out: bool = False
    inference_mode: bool = True
    init_lora_weights: bool = True
    use_rslora: bool = False
    use_dora: bool = False

    def to_bytes(self) -> bytes:
        """The canonical file: the same adapter is the same bytes in every process."""
        data = self.model_dump() | {"target_modules": sorted(set(self.target_modules))}
        if not self.use_dora:
            # A plain LoRA's file, and so its hash, is what it was before there was DoRA.
            del data["use_dora"]
        return (json.dumps(data, indent=2, sort_keys=True) + "\n").encode("ascii")


def parse_lora_config(config: dict[str, Any]) -> LoraAdapterConfig:
    """Check a decoded `adapter_config.json`. Keys without effect are dropped.

    Raises:
        InvalidInputError: it is more than a plain LoRA, or malformed.
    """
    kept = {
        key: value
        for key, value in config.items()
        if key in LoraAdapterConfig.model_fields or not _has_no_effect(key, value)
    }
    try:
        return LoraAdapterConfig.model_validate(kept)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise InvalidInputError(
            f"The adapter's configuration is not a plain LoRA: {problems}.",
            next_step="Train with peft_type LORA, a list of target_modules, bias none and "
            "nothing else switched on.",
        ) from error


def _has_no_effect(key: str, value: Any) -> bool:
    empty = value is None or value is False or value == {} or value == []
    return empty or _INERT.get(key) == value
