"""Tensors in a file that is whole or is not there, and that says what it was made from.

One safetensors file; its header has a hash of the tensors and the name of their source. What is
missing, damaged or made from something else reads as None, because all of it can be made again.
Several processes may write the same file at once: each renames its own. Knows nothing of what the
tensors are.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from rune_engine.home import not_writable
from rune_engine.statistic_files import partial_of

_LENGTH_BYTES = 8
_PRIVATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: tensors, and numbers that are JSON-ready."""

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, float]


def write(path: Path, source: str, content: Content) -> None:
    """Make `content` the file at `path`, readable by its owner alone.

    Raises:
        DiskFullError, HomeNotWritableError: it cannot be written; what was there is as it was.
    """
    tensors = {name: tensor.contiguous() for name, tensor in content.tensors.items()}
    header = {"source": source, "numbers": json.dumps(content.numbers)}
    data = save(tensors, header | {"content": _digest(tensors)})
    partial = partial_of(path, uuid.uuid4().hex[:12])
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, _PRIVATE, 0o600), "wb") as file:
            file.write(data)
        partial.replace(path)
    except OSError as error:
        raise not_writable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def read(path: Path, source: str) -> Content | None:
    """What `write` left there, if it was made from `source` and no bit of it has changed."""
    try:
        # Read at once, by nobody who opens the name again: another writer may rename its own to it.
        data = path.read_bytes()
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])["__metadata__"]
        if header["source"] != source:
            return None
        tensors = load(data)
        numbers = json.loads(header["numbers"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return Content(tensors, numbers) if header.get("content") == _digest(tensors) else None


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
