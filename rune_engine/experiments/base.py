"""The base model of a run: its files, what they hash to, whether it has a hypernetwork."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.model_store.resolve import resolve_trainable

DIRECT, CLOSED_FORM, HYPERNETWORK = "direct", "closed_form", "hypernetwork"
_WEIGHTS = ("model*.safetensors",)
_TRAINED = ("rune.json", "rehearsal.jsonl")
_SOLVED = (*_TRAINED, "statistics/*")
_RECIPES = {
    DIRECT: _TRAINED,
    CLOSED_FORM: _SOLVED,
    HYPERNETWORK: (*_SOLVED, f"{HYPERNETWORK}/*"),
}
"""What each method reads beside the weights."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model that adapters are made for.

    Attributes:
        name: as it was asked for.
        sha256: of its weights.
        recipes: of what each method reads beside them to make an adapter.
        hypernetwork: whether it has one.
    """

    name: str
    id: str
    path: Path
    sha256: str
    recipes: Mapping[str, str] = field(default_factory=dict)
    hypernetwork: bool = False


def find_base(name: str, config: RuneConfig) -> Base:
    """The base model that `name` means.

    Raises:
        BaseModelNotFoundError: it is not on this machine, or only its GGUF file is.
        BaseModelCorruptedError: what it says of itself cannot be read.
    """
    found = resolve_trainable(name, config)
    return Base(
        name=name,
        id=found.id,
        path=found.path,
        sha256=_sha256(found.path, _WEIGHTS),
        recipes={method: _sha256(found.path, files) for method, files in _RECIPES.items()},
        hypernetwork=(found.path / HYPERNETWORK).is_dir(),
    )


def _sha256(folder: Path, patterns: Sequence[str]) -> str:
    """Of one file, its own; of several, over their names and hashes."""
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    hashes = {str(p.relative_to(folder)): _file_sha256(p) for p in files if p.is_file()}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = [f"{digest}  {name}\n" for name, digest in hashes.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
