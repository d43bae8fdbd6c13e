"""Reads a GGUF file's header without trusting a byte of it.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a count of keys and of tensors, typed
values, then where each tensor lies. llama.cpp believes most of that; whatever would lead it, or
us, outside of the file is refused here. Knows the standard library only.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_NAME_BYTES = 63
"""llama.cpp keeps a tensor's name in 64 bytes."""
MAX_KEY_BYTES = 256
MAX_DIMENSIONS = 4
MAX_ELEMENTS = 2**40
DEFAULT_ALIGNMENT = 32

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
_SCALARS = {
    **{0: "<B", 1: "<b", 2: "<H", 3: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"},
    **{10: "<Q", 11: "<q", 12: "<d"},
}

BLOCKS = {
    **{0: (1, 4), 1: (1, 2), 30: (1, 2), 28: (1, 8)},
    **{2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210)},
    **{15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50)},
    **{20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56)},
    **{24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 34: (256, 54), 35: (256, 66)},
    39: (32, 17),
}
"""Elements and bytes of one block of each tensor type."""


class MalformedGguf(ValueError):
    """The file is not what its format demands; the message says where."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's place: `shape` as GGUF has it, the innermost dimension first."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Gguf:
    """A file's keys with their types, and its tensors; `arrays` holds the types within arrays."""

    path: Path
    keys: dict[str, Any]
    types: dict[str, int]
    arrays: dict[str, int]
    tensors: dict[str, Tensor]

    def typed(self, key: str, *types: int) -> Any:
        """A key's value.

        Raises:
            MalformedGguf: it is missing, or of none of the types.
        """
        if key not in self.keys:
            raise MalformedGguf(f"the key {key} is missing")
        if self.types[key] not in types:
            raise MalformedGguf(f"the key {key} has type {self.types[key]}")
        return self.keys[key]

    def array(self, key: str, *types: int) -> list[Any]:
        """An array's values, of one of the types. Raises what `typed` raises."""
        values: list[Any] = self.typed(key, ARRAY)
        if self.arrays[key] not in types:
            raise MalformedGguf(f"the array {key} holds type {self.arrays[key]}")
        return values


def read(path: Path) -> Gguf:
    """Read a file's header, and see that its tensors lie within it, one after the other.

    Raises:
        MalformedGguf: it is damaged, or not GGUF.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise MalformedGguf("it is empty") from None
        with data:
            return _Header(data).read(path)


class _Header:
    """A cursor over the bytes."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0
        self._end = len(data)

    def read(self, path: Path) -> Gguf:
        if self._bytes(4) != MAGIC:
            raise MalformedGguf("it does not begin with GGUF")
        if (version := self._scalar(U32)) not in VERSIONS:
            raise MalformedGguf(f"its version is {version}")
        tensors, keys = self._scalar(10), self._scalar(10)
        if keys > MAX_KEYS or tensors > MAX_TENSORS:
            raise MalformedGguf(f"it says that it has {keys} keys and {tensors} tensors")
        found = Gguf(path, {}, {}, {}, {})
        for _ in range(keys):
            self._key(found)
        self._tensors(found, tensors)
        return found

    def _key(self, found: Gguf) -> None:
        name = self._string(MAX_KEY_BYTES)
        if not name or name in found.keys:
            raise MalformedGguf(f"the key {name!r} is empty or given twice")
        kind = self._scalar(U32)
        if kind == ARRAY:
            found.arrays[name], found.keys[name] = self._array(name)
        else:
            found.keys[name] = self._value(kind)
        found.types[name] = kind

    def _array(self, name: str) -> tuple[int, list[Any]]:
        kind, count = self._scalar(U32), self._scalar(10)
        if kind == STRING:
            self._need(8 * count)
            return kind, [self._string() for _ in range(count)]
        if kind not in _SCALARS:
            raise MalformedGguf(f"the array {name} holds type {kind}")
        code = _SCALARS[kind][1]
        raw = self._bytes(count * struct.calcsize(f"<{code}"))
        return kind, list(struct.unpack(f"<{count}{code}", raw))

    def _value(self, kind: int) -> Any:
        return self._string() if kind == STRING else self._scalar(kind)

    def _tensors(self, found: Gguf, count: int) -> None:
        alignment = found.keys.get("general.alignment", DEFAULT_ALIGNMENT)
        if found.types.get("general.alignment", U32) != U32 or not _is_alignment(alignment):
            raise MalformedGguf(f"its alignment is {alignment!r}")
        told = [self._tensor() for _ in range(count)]
        start = _padded(self._at, alignment)
        expected = start
        for name, shape, kind, offset in told:
            size = _size(name, shape, kind)
            if name in found.tensors:
                raise MalformedGguf(f"the tensor {name} is given twice")
            if start + offset != expected or expected + size > self._end:
                raise MalformedGguf(f"the tensor {name} does not lie where it should")
            found.tensors[name] = Tensor(name, shape, kind, expected, size)
            expected = _padded(expected + size, alignment)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string(MAX_NAME_BYTES)
        dimensions = self._scalar(U32)
        if not name or not 1 <= dimensions <= MAX_DIMENSIONS:
            raise MalformedGguf(f"the tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._scalar(10) for _ in range(dimensions))
        return name, shape, self._scalar(U32), self._scalar(10)

    def _scalar(self, kind: int) -> Any:
        if kind not in _SCALARS:
            raise MalformedGguf(f"there is no value type {kind}")
        code = _SCALARS[kind]
        if kind == BOOL:
            return self._bytes(1) != b"\0"
        return struct.unpack(code, self._bytes(struct.calcsize(code)))[0]

    def _string(self, longest: int | None = None) -> str:
        length = self._scalar(10)
        if longest is not None and length > longest:
            raise MalformedGguf(f"a name has {length} bytes")
        raw = self._bytes(length)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise MalformedGguf(f"a string before byte {self._at} is not UTF-8") from None

    def _bytes(self, count: int) -> bytes:
        self._need(count)
        self._at += count
        return self._data[self._at - count : self._at]

    def _need(self, count: int) -> None:
        if count > self._end - self._at:
            raise MalformedGguf(f"it ends at byte {self._end}, within its header")


def _size(name: str, shape: tuple[int, ...], kind: int) -> int:
    elements = 1
    for length in shape:
        elements *= length
        if not 1 <= length <= MAX_ELEMENTS or elements > MAX_ELEMENTS:
            raise MalformedGguf(f"the tensor {name} has the shape {shape}")
    if kind not in BLOCKS:
        raise MalformedGguf(f"the tensor {name} has the unknown type {kind}")
    block, size = BLOCKS[kind]
    if shape[0] % block:
        raise MalformedGguf(f"the tensor {name} is no whole number of blocks wide")
    return elements // block * size


def _is_alignment(value: Any) -> bool:
    return isinstance(value, int) and 8 <= value <= 65_536 and value & (value - 1) == 0


def _padded(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
