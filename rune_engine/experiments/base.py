"""The base model of a run: where its files lie, what they hash to, whose hypernetwork it has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.model_store.resolve import resolve_trainable

HYPERNETWORK = "hypernetwork"
_WEIGHTS = "model*.safetensors"


@dataclass(frozen=True, slots=True)
class Base:
    """A base model that adapters are made for.

    Attributes:
        name: as it was asked for.
        sha256: of its weights' files together.
    """

    name: str
    id: str
    path: Path
    sha256: str

    @property
    def hypernetwork(self) -> bool:
        """Whether a hypernetwork was trained for it."""
        return (self.path / HYPERNETWORK / f"{HYPERNETWORK}.safetensors").is_file()


def find_base(name: str, config: RuneConfig) -> Base:
    """The base model that `name` means.

    Raises:
        BaseModelNotFoundError: it is not on this machine, or only its GGUF file is.
        BaseModelCorruptedError: what it says of itself cannot be read.
    """
    found = resolve_trainable(name, config)
    return Base(name, found.id, found.path, _sha256(found.path))


def _sha256(folder: Path) -> str:
    """Of one file, its own; of several, over their names and hashes."""
    hashes = {path.name: _file_sha256(path) for path in sorted(folder.glob(_WEIGHTS))}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = [f"{digest}  {name}\n" for name, digest in hashes.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
