"""What safetensors files say they hold: names, types and shapes, without reading a tensor.

Knows the file format (an 8-byte length, then a JSON object) and the error tree; no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""The format's own limit."""
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class TensorHeader:
    dtype: str
    shape: tuple[int, ...]


def read_header(file: Path) -> dict[str, TensorHeader]:
    """Every tensor of one file.

    Raises:
        ValueError: it is not a whole safetensors file.
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - _LENGTH_BYTES):
            raise ValueError("its header does not fit in the file")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    header.pop("__metadata__", None)
    room = size - _LENGTH_BYTES - length
    return {name: _tensor(name, entry, room) for name, entry in header.items()}


def _tensor(name: str, entry: object, room: int) -> TensorHeader:
    """One entry, whose bytes must lie in the file and be as many as its shape says."""
    try:
        assert isinstance(entry, dict)
        start, end = entry["data_offsets"]
        found = TensorHeader(str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
        held = end - start
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its entry for {name} is malformed") from error
    width = _WIDTHS.get(found.dtype)
    if not 0 <= start <= end <= room or (width and held != width * math.prod(found.shape)):
        raise ValueError(f"its entry for {name} does not fit its bytes")
    return found


def module_shapes(folder: Path) -> Mapping[str, tuple[int, ...] | None]:
    """Every module with a weight in a base model's folder; None where it is stored otherwise.

    Raises:
        ValueError: a file is not a whole safetensors file.
        OSError: a file cannot be read.
    """
    shapes: dict[str, tuple[int, ...] | None] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in read_header(file).items():
            module, _, kind = name.rpartition(".")
            if kind == "weight":
                shapes[module] = tensor.shape
            else:
                shapes.setdefault(module, None)
    return shapes
