"""Tensors out of safetensors files, bfloat16 too, and into GGUF files. Knows numpy and `gguf`."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import numpy.typing as npt

from rune_engine.errors import InvalidInputError
from rune_engine.gguf import keys
from rune_engine.gguf.reading import ARRAY, BOOL, F32, U32

Precision = Literal["float32", "float16", "bfloat16"]
Array = npt.NDArray[Any]
_TYPES: dict[Precision, Any] = {
    "float32": gguf.GGMLQuantizationType.F32,
    "float16": gguf.GGMLQuantizationType.F16,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
}
_ITEM_BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
FILE_TYPES: dict[Precision, int] = {"float32": 0, "float16": 1, "bfloat16": 32}
"""What `general.file_type` says."""
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_MAX_HEADER_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a safetensors file, not read yet; `shape` is the outermost dimension first."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def read(self) -> npt.NDArray[np.float32]:
        """Its values in float32: exact whatever it is stored as."""
        raw = self.raw()
        if self.dtype == "BF16":
            return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.ascontiguousarray(raw, np.float32)

    def raw(self) -> Array:
        """Its values as they are stored; bfloat16 as uint16."""
        return np.memmap(self.path, _DTYPES[self.dtype], "r", self.offset, self.shape)


def stored_tensors(path: Path) -> dict[str, Stored]:
    """What a safetensors file holds, by name.

    Raises:
        InvalidInputError: it is damaged, or holds something else than floating point numbers.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            [length] = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
            size = file.seek(0, os.SEEK_END)
        header.pop("__metadata__", None)
        return {name: _stored(path, 8 + length, size, told) for name, told in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise InvalidInputError(
            f"{path} is not a safetensors file that can be read: {error}.",
            next_step="Download or distill it again.",
        ) from error


def _stored(path: Path, start: int, size: int, told: Mapping[str, Any]) -> Stored:
    dtype = told["dtype"]
    if dtype not in _DTYPES:
        raise ValueError(f"a tensor of {dtype}, which is not exported")
    shape = tuple(int(length) for length in told["shape"])
    begin, end = told["data_offsets"]
    wanted = int(np.prod(shape, dtype=np.int64)) * np.dtype(_DTYPES[dtype]).itemsize
    if min(shape, default=1) < 1 or begin < 0 or end - begin != wanted or start + end > size:
        raise ValueError(f"a tensor of {shape} in bytes {begin} to {end}")
    return Stored(path, dtype, shape, start + begin)


@dataclass(frozen=True, slots=True)
class Out:
    """A tensor to be written; `values` makes it when its turn comes."""

    name: str
    shape: tuple[int, ...]
    precision: Precision
    values: Callable[[], Array]

    def encoded(self) -> Array:
        values = self.values()
        if self.precision == "bfloat16" and values.dtype == np.uint16:
            return np.ascontiguousarray(values)
        if self.precision == "bfloat16":
            packed: Array = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
            return packed
        return np.ascontiguousarray(values, np.dtype(self.precision))

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * _ITEM_BYTES[self.precision]


def as_stored(name: str, stored: Stored, precision: Precision) -> Out:
    """A tensor of a safetensors file, bfloat16 left as it is where it is to be bfloat16.

    Vectors are float32 whatever is asked for: llama.cpp adds and multiplies with nothing else.
    """
    if len(stored.shape) == 1:
        precision = "float32"
    keep = precision == "bfloat16" and stored.dtype == "BF16"
    return Out(name, stored.shape, precision, stored.raw if keep else stored.read)


def tensors_sha256(arrays: Iterable[Array]) -> str:
    """What `keys.TENSORS_SHA256` says of a file with these tensors."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write(path: Path, architecture: str, values: Mapping[str, Any], tensors: list[Out]) -> None:
    """Write a GGUF file, all of it or nothing; it may be moved into place at once.

    `values` are strings, booleans, integers (u32), floats (f32), or lists of one of them; a tuple
    of integers is a list of i32.

    Raises:
        OSError: the disk is full, or the folder is not there.
    """
    with atomic(path) as partial:
        writer = gguf.GGUFWriter(partial, architecture)
        try:
            _add_values(writer, values)
            for tensor in tensors:
                dtype = _TYPES[tensor.precision]
                writer.add_tensor_info(
                    tensor.name, tensor.shape, np.dtype(np.float32), tensor.size, raw_dtype=dtype
                )
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in tensors:
                writer.write_tensor_data(tensor.encoded())
        finally:
            writer.close()


def write_adapter(
    path: Path, architecture: str, values: Mapping[str, Any], pairs: list[Out]
) -> None:
    """Write a GGUF file that carries the hash of its own tensors. Raises what `write` raises."""
    digest = tensors_sha256(tensor.encoded() for tensor in pairs)
    write(path, architecture, {**values, keys.TENSORS_SHA256: digest}, pairs)


def _add_values(writer: Any, values: Mapping[str, Any]) -> None:
    kinds = {bool: BOOL, int: U32, float: F32, str: 8}
    for key, value in values.items():
        if isinstance(value, list | tuple):
            kind = 5 if isinstance(value, tuple) else kinds[type(value[0])] if value else U32
            sub = gguf.GGUFValueType(kind)
            writer.add_key_value(key, value, gguf.GGUFValueType(ARRAY), sub)
        else:
            writer.add_key_value(key, value, gguf.GGUFValueType(kinds[type(value)]))


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` if the block ends well, else it goes."""
    handle, name = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
