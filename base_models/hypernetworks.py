"""The hypernetwork that may lie in a base model's folder, looked at without loading it.

    hypernetwork/hypernetwork.json           whose it is, its settings, the hash of its weights
    hypernetwork/hypernetwork.safetensors    its weights

Below the model's own folder, because vLLM takes every safetensors file there for weights. Knows
files, and nothing of what a hypernetwork does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base_models.identity import identity_of

FOLDER = "hypernetwork"
DESCRIPTION = "hypernetwork.json"
WEIGHTS = "hypernetwork.safetensors"


class DamagedHypernetworkError(ValueError):
    """Its files are not what was written; the message says which and why."""


class ForeignHypernetworkError(ValueError):
    """It was made for other weights than those that it lies beside."""


@dataclass(frozen=True, slots=True)
class HypernetworkFolder:
    """A hypernetwork on disk, undamaged.

    Attributes:
        base: the identity of the base model that it was made for.
        settings: what it is made of, as its trainer wrote it.
    """

    path: Path
    base: str
    settings: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS


def examine(folder: Path) -> HypernetworkFolder:
    """The hypernetwork in a folder of its own; every byte of it is read.

    Raises:
        FileNotFoundError: there is none.
        DamagedHypernetworkError: its files are not what was written.
    """
    if not (folder / DESCRIPTION).is_file() and not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} has no hypernetwork.")
    try:
        told = json.loads((folder / DESCRIPTION).read_bytes())
        base, digest, settings = str(told["base"]), str(told["sha256"]), dict(told["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedHypernetworkError(
            f"{folder / DESCRIPTION} cannot be read: {error!r}."
        ) from error
    try:
        with (folder / WEIGHTS).open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
    except OSError as error:
        raise DamagedHypernetworkError(f"{folder / WEIGHTS} cannot be read: {error}.") from error
    if found != digest:
        raise DamagedHypernetworkError(f"{folder / WEIGHTS} is not the file that was written.")
    return HypernetworkFolder(folder, base, settings)


def of_base(base_model: Path) -> HypernetworkFolder | None:
    """The hypernetwork of a base model's folder; None where it has none.

    Raises:
        DamagedHypernetworkError: its files are not what was written.
        ForeignHypernetworkError: it was made for other weights.
    """
    try:
        found = examine(base_model / FOLDER)
    except FileNotFoundError:
        return None
    try:
        same = found.base == identity_of(base_model)
    except FileNotFoundError:
        same = False
    if not same:
        raise ForeignHypernetworkError(
            f"The hypernetwork in {found.path} was made for other weights than this model's."
        )
    return found
