"""What a safetensors file says it holds, checked in pure Python before any loader sees it.

Reads the header of https://huggingface.co/docs/safetensors: eight bytes of little-endian length,
that much JSON, then the tensors' bytes without a gap. Knows matrices and vectors of floating-point
numbers, which is all that a LoRA has; nothing of torch, of adapters or of paths.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_WEIGHTS_BYTES = 4 * 1024**3
MAX_HEADER_BYTES = 1024**2
DType = Literal["F32", "F16", "BF16"]
_SMALL_HIGHEST: dict[DType, bytes] = {
    "F32": bytes(byte for byte in range(256) if byte & 0x7F != 0x7F),
    "BF16": bytes(byte for byte in range(256) if byte & 0x7F != 0x7F),
    "F16": bytes(byte for byte in range(256) if byte & 0x7C != 0x7C),
}
ITEM_BYTES: dict[DType, int] = {"F32": 4, "F16": 2, "BF16": 2}


class TensorFileError(ValueError):
    """The bytes are not the safetensors of some matrices; the message says why."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix, or vector, of a file: `start` and `stop` count from the file's first byte."""

    dtype: DType
    shape: tuple[int, ...]
    start: int
    stop: int


_Length = Annotated[int, Field(ge=1)]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: DType
    shape: Annotated[tuple[_Length, ...], Field(min_length=1, max_length=2)]
    data_offsets: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


class _Header(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, _Tensor]

    metadata: dict[str, str] = Field(default={}, alias="__metadata__")


def read_matrices(file: BinaryIO, size: int) -> dict[str, Matrix]:
    """The matrices of `file`, of `size` bytes, by their names.

    Raises:
        TensorFileError: every byte of the file is not part of exactly one of them.
    """
    file.seek(0)
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise TensorFileError(f"its header is {length} bytes long in a file of {size}")
    tensors = _parse(file.read(length))
    _check_layout(tensors, size - 8 - length)
    offset = 8 + length
    return {
        name: Matrix(
            tensor.dtype,
            tensor.shape,
            offset + tensor.data_offsets[0],
            offset + tensor.data_offsets[1],
        )
        for name, tensor in tensors.items()
    }


def all_finite(values: memoryview, dtype: DType) -> bool:
    """Whether none of these numbers, as bytes in a file's order, is infinite or no number.

    Such a number has every bit of its exponent set, which its highest bytes show.
    """
    size = ITEM_BYTES[dtype]
    highest = values[size - 1 :: size].tobytes()
    if not highest.translate(None, _SMALL_HIGHEST[dtype]):
        return True
    if dtype == "F16":
        return False
    next_highest = values[size - 2 :: size].tobytes()
    pairs = zip(highest, next_highest, strict=True)
    return not any(high & 0x7F == 0x7F and low & 0x80 for high, low in pairs)


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads(object_pairs_hook=...)`: which of two values counts is each reader's taste.

    Raises:
        ValueError: a name stands there twice.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:200]!r} stands there twice")
        found[name] = value
    return found


def _parse(header: bytes) -> dict[str, _Tensor]:
    try:
        parsed = _Header.model_validate_json(header)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:300]
        problem = f"its header is wrong at {where or 'its start'}: {first['msg']}"
        raise TensorFileError(problem) from error
    try:
        json.loads(header, object_pairs_hook=without_duplicates)
    except ValueError as error:
        raise TensorFileError(f"its header is wrong: {error}") from error
    return dict(parsed.model_extra or {})


def _check_layout(tensors: dict[str, _Tensor], data_bytes: int) -> None:
    """Every byte of the data belongs to exactly one tensor."""
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        start, stop = tensor.data_offsets
        if start != end or stop - start != prod(tensor.shape) * ITEM_BYTES[tensor.dtype]:
            raise TensorFileError(
                f"the offsets of {name!r} leave a gap, overlap or do not fit its shape"
            )
        end = stop
    if end != data_bytes:
        raise TensorFileError(f"its tensors take {end} bytes, but it holds {data_bytes}")
