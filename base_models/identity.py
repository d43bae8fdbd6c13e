"""What tells base models apart, whatever they are called: a hash of configuration and weights.

Also which shape a model has, as far as its configuration says it. Knows files, and no library that
loads models.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FAMILY = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""`model_type`s whose layers are Qwen2's in shape."""

_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_WHOLE_BYTES = 256 * 1024**2
_BLOCK = 64 * 1024
_BLOCKS = 64


def is_of_family(folder: Path) -> bool:
    """Whether the folder has weights in safetensors of a model of Qwen2's shape."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        weights_of(folder)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") in FAMILY


def identity_of(folder: Path) -> str:
    """A hash that tells base models apart.

    Of files above 256 MiB the hash is over their header and 64 blocks spread over the rest: another
    training changes every block.

    Raises:
        FileNotFoundError: the folder lacks its configuration, or weights in safetensors.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in weights_of(folder):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as data:
            if size <= _WHOLE_BYTES:
                digest.update(data.read())
                continue
            for number in range(_BLOCKS + 1):
                data.seek(number * (size - _BLOCK) // _BLOCKS)
                digest.update(data.read(_BLOCK))
    return digest.hexdigest()


def weights_of(folder: Path) -> list[Path]:
    """The files that Transformers loads.

    Raises:
        FileNotFoundError: there are none in safetensors.
    """
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    if (folder / _ONE_FILE).is_file():
        return [folder / _ONE_FILE]
    raise FileNotFoundError(f"{folder} has no weights in safetensors.")
