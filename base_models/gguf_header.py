"""The key-value header of a GGUF file (ggml's specification, versions 2 and 3), read with care.

It reads what a file says of itself without loading any of it: a damaged or hostile file is a
`ValueError`, never a crash. Arrays are skipped; only their lengths are told. Knows nothing of
tensors.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

__all__ = ["BASE_MODEL_ID", "Value", "read_header"]

Value = str | int | float | bool
BASE_MODEL_ID = "rune.base_model.id"
"""The key under which Rune writes which base model a GGUF file is."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 10: "<Q", 11: "<q"}
_NUMBERS |= {12: "<d", _BOOL: "<?"}
_MOST_KEYS = 4096
_MOST_ITEMS = 10_000_000
_LONGEST_STRING = 4 * 1024**2


def read_header(path: Path) -> dict[str, Value]:
    """The keys of a GGUF file; an array's value is how many items it has.

    Raises:
        ValueError: it is no GGUF file, or a damaged one.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError(f"{path.name} is not a GGUF file")
        version, _, keys = struct.unpack("<IQQ", _exactly(file, 20))
        if version not in _VERSIONS or keys > _MOST_KEYS:
            raise ValueError(f"{path.name} is a GGUF file of an unknown kind (version {version})")
        return {_string(file): _value(file, _number(file, "<I")) for _ in range(keys)}


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        return _skip_array(file)
    return _number(file, _format(kind))


def _skip_array(file: BinaryIO) -> int:
    kind, count = _number(file, "<I"), _number(file, "<Q")
    if count > _MOST_ITEMS:
        raise ValueError(f"an array of {count} items")
    if kind == _STRING:
        for _ in range(count):
            _exactly(file, _length(file))
    else:
        file.seek(count * struct.calcsize(_format(kind)), 1)
    return count


def _format(kind: int) -> str:
    try:
        return _NUMBERS[kind]
    except KeyError:
        raise ValueError(f"a value of the unknown kind {kind}") from None


def _number(file: BinaryIO, form: str) -> int:
    number: int = struct.unpack(form, _exactly(file, struct.calcsize(form)))[0]
    return number


def _string(file: BinaryIO) -> str:
    return _exactly(file, _length(file)).decode("utf-8", errors="replace")


def _length(file: BinaryIO) -> int:
    length = _number(file, "<Q")
    if length > _LONGEST_STRING:
        raise ValueError(f"a string of {length} bytes")
    return length


def _exactly(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise ValueError("the file ends within its header")
    return found
