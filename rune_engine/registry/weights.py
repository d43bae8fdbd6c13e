"""What an adapter's weights must look like, checked in pure Python before any loader sees them.

Reads the header of a safetensors file (https://huggingface.co/docs/safetensors): eight bytes of
little-endian length, that much JSON, then the tensors' bytes without a gap. Knows no path.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rune_engine.errors import InvalidInputError
from rune_engine.registry.lora_config import LoraAdapterConfig

MAX_WEIGHTS_BYTES = 4 * 1024**3
MAX_HEADER_BYTES = 1024**2
_ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_MAGNITUDE = re.compile(r"(?P<module>[A-Za-z0-9_.]{1,500})\.lora_magnitude_vector(?:\.weight)?")
_NAME = re.compile(
    r"(?P<module>[A-Za-z0-9_.]{1,500})\.lora_(?:embedding_)?(?P<side>[AB])(?:\.weight)?"
)


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """An adapter as a trainer leaves it: weights (a file or its bytes), PEFT's configuration."""

    safetensors: Path | bytes
    config: dict[str, Any]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["F32", "F16", "BF16"]
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=2)]
    data_offsets: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


class _Header(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, _Tensor]

    metadata: dict[str, str] = Field(default={}, alias="__metadata__")


def check_weights(file: BinaryIO, size: int, lora: LoraAdapterConfig) -> None:
    """Check that `file`, of `size` bytes, holds exactly the tensors of the LoRA `lora`.

    Raises:
        InvalidInputError: it is not safetensors, or holds something else.
    """
    tensors, data_bytes = _read_header(file, size)
    _check_layout(tensors, data_bytes)
    _check_names(tensors, lora)


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, _Tensor], int]:
    file.seek(0)
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise _unusable(f"its header is {length} bytes long in a file of {size}")
    try:
        header = _Header.model_validate_json(file.read(length))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _unusable(f"its header is wrong at {where or 'its start'}: {first['msg']}") from error
    return dict(header.model_extra or {}), size - 8 - length


def _check_layout(tensors: dict[str, _Tensor], data_bytes: int) -> None:
    """Every byte of the file belongs to exactly one tensor."""
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        start, stop = tensor.data_offsets
        if start != end or stop - start != prod(tensor.shape) * _ITEM_BYTES[tensor.dtype]:
            raise _unusable(f"the offsets of {name!r} leave a gap, overlap or do not fit its shape")
        end = stop
    if end != data_bytes:
        raise _unusable(f"its tensors take {end} bytes, but it holds {data_bytes}")


def _check_names(tensors: dict[str, _Tensor], lora: LoraAdapterConfig) -> None:
    """Every tensor is a matrix of a target module's pair, of the configuration's rank, or with
    DoRA that module's magnitudes; no module lacks one of them."""
    wanted = {"A", "B", "magnitude"} if lora.use_dora else {"A", "B"}
    parts: dict[str, set[str]] = {}
    for name, tensor in tensors.items():
        module, part = _part(name, lora)
        if not any(f".{module}".endswith(f".{target}") for target in lora.target_modules):
            raise _unusable(f"{name!r} belongs to none of the target modules")
        if len(tensor.shape) != (1 if part == "magnitude" else 2):
            raise _unusable(f"{name!r} has shape {tensor.shape}")
        if part != "magnitude" and tensor.shape[0 if part == "A" else 1] != lora.r:
            raise _unusable(f"{name!r} has shape {tensor.shape}, but the rank is {lora.r}")
        parts.setdefault(module, set()).add(part)
    lonely = [module for module, found in parts.items() if found != wanted]
    if lonely or not parts:
        raise _unusable(f"{lonely[0]!r} lacks one of its matrices" if lonely else "it is empty")


def _part(name: str, lora: LoraAdapterConfig) -> tuple[str, str]:
    """The module that a tensor belongs to, and which part of its adapter it is."""
    if match := _NAME.fullmatch(name):
        return match["module"], match["side"]
    if lora.use_dora and (match := _MAGNITUDE.fullmatch(name)):
        return match["module"], "magnitude"
    raise _unusable(f"{name!r} is not the name of a LoRA matrix")


def _unusable(problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"The adapter's weights cannot be used: {problem}.",
        next_step="Save the adapter again with PEFT's save_pretrained.",
    )
