"""Checkpoints of a training that may be killed: written so that each is whole, or is not there.

One file each, safetensors with the numbers in its header as JSON, named by its own hash; the last
two are kept, so that a damaged one is passed over for the one before. Knows no model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{8})-([0-9a-f]{64})\.safetensors")
_KEPT = 2
_HEADER_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a training is: tensors, and numbers that are JSON-ready."""

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: theirs alone; None keeps none.
        inputs: hash of what is trained on and how; a checkpoint of other inputs is not used.
        seconds: the least time between two of them.
    """

    def __init__(self, folder: Path | None, inputs: str, seconds: float) -> None:
        self._folder = folder
        self._inputs = inputs
        self._seconds = seconds
        self._saved_at = time.monotonic()

    def latest(self) -> Snapshot | None:
        """The last good checkpoint of these inputs."""
        for file in reversed(self._files()):
            found = self._read(file)
            if found is not None:
                return found
        return None

    def due(self) -> bool:
        """Whether the last one is old enough for another."""
        return self._folder is not None and time.monotonic() - self._saved_at >= self._seconds

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint durably. A full disk costs the checkpoint, not the training."""
        if self._folder is None:
            return
        numbers = json.dumps({"inputs": self._inputs, **snapshot.numbers})
        tensors = {name: value.contiguous() for name, value in snapshot.tensors.items()}
        data = save(tensors, metadata={"rune": numbers})
        files = self._files()
        number = 1 + max((int(file.name[:8]) for file in files), default=0)
        name = f"{number:08d}-{hashlib.sha256(data).hexdigest()}.safetensors"
        try:
            _write(self._folder, name, data)
        except OSError as error:
            log.warning("No checkpoint could be written to %s: %s", self._folder, error)
        else:
            for old in files[: len(files) + 1 - _KEPT]:
                old.unlink(missing_ok=True)
        self._saved_at = time.monotonic()

    def _files(self) -> list[Path]:
        """Oldest first; what a killed writer left half done has another name."""
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted(file for file in self._folder.iterdir() if _NAME.fullmatch(file.name))

    def _read(self, file: Path) -> Snapshot | None:
        try:
            data = file.read_bytes()
        except OSError as error:
            log.warning("The checkpoint %s cannot be read and is passed over: %s", file, error)
            return None
        if f"{hashlib.sha256(data).hexdigest()}.safetensors" != file.name[9:]:
            log.warning("The checkpoint %s is damaged and is passed over.", file)
            return None
        numbers = json.loads(_metadata(data)["rune"])
        if numbers.pop("inputs") != self._inputs:
            log.warning("The checkpoint %s is of another training and is passed over.", file)
            return None
        return Snapshot(load(data), numbers)


def _metadata(data: bytes) -> dict[str, str]:
    """The header's free text; the bytes have been verified."""
    length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
    header = json.loads(data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length])
    found: dict[str, str] = header["__metadata__"]
    return found


def _write(folder: Path, name: str, data: bytes) -> None:
    """Write, sync, rename, sync: after a power cut the file is there whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "new"
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / name)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
