"""Which modules a base model has, and their shapes, from its files' headers; no tensor is read.

Knows safetensors (an 8-byte length, then a JSON object); no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Shapes = Mapping[str, tuple[int, ...] | None]

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""The format's own limit."""


def module_shapes(folder: Path) -> Shapes:
    """Every module's weight as [outputs, inputs]; None where it is stored otherwise.

    Raises:
        ValueError: a file is not safetensors.
        OSError: a file cannot be read.
    """
    shapes: dict[str, tuple[int, ...] | None] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in _header(file).items():
            module, _, kind = name.rpartition(".")
            if kind == "weight":
                shapes[module] = tuple(entry["shape"])
            else:
                shapes.setdefault(module, None)
    return shapes


def _header(file: Path) -> dict[str, dict[str, Any]]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"{file} is no safetensors file")
        header: dict[str, dict[str, Any]] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return header
