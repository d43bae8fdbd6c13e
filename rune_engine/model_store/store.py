"""The base models that were pulled: one folder each, `models/ORG--NAME/COMMIT[-FILE]`.

A folder that is there is whole: it was renamed into place after every file of it was checked.
`rune.json` in it says where it came from and what its files hash to. Knows nothing of networks.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

import base_models
from rune_engine.durable import remove as remove_entry
from rune_engine.errors import BaseModelCorruptedError, BaseModelNotFoundError
from rune_engine.model_store.catalogue import DISTILLATION_NOTE
from rune_engine.model_store.names import Reference, names_file
from rune_engine.models.base import Model

_CHUNK = 1024**2
_SHORTEST_COMMIT = 7


class StoredFile(Model):
    """A file of a model: bytes, and the hash the hub gives (a Git blob's, or SHA-256)."""

    name: str
    size: int = Field(ge=0)
    algorithm: Literal["sha256", "git-sha1"]
    digest: str = Field(pattern=r"^[0-9a-f]{40,64}$")


class Source(Model):
    """Where a model came from. `revision` is what was asked for, `commit` what that was then."""

    repository: str
    revision: str
    commit: str
    file: str | None = None
    licence: str | None = None
    pulled_at: str
    files: list[StoredFile]


class PulledModel(Model):
    """A model that was pulled and is whole."""

    id: str
    folder: Path
    source: Source
    gguf: list[str] = Field(default_factory=list)

    @property
    def reference(self) -> Reference:
        """The name that finds exactly it."""
        return Reference(self.source.repository, self.source.commit[:12], self.source.file)

    @property
    def name(self) -> str:
        """The name that finds it as long as no later revision is pulled."""
        return Reference(self.source.repository, file=self.source.file).short

    @property
    def path(self) -> Path:
        """What a back-end loads: the folder, or the first GGUF file."""
        return self.folder / self.gguf[0] if self.gguf else self.folder

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.source.files)

    @property
    def weight_bytes(self) -> int:
        weights = (".safetensors", ".gguf")
        return sum(file.size for file in self.source.files if file.name.endswith(weights))


def folder_of(models: Path, reference: Reference, commit: str) -> Path:
    """Where a model lies once it is whole."""
    file = f"-{reference.file.lower()}" if reference.file else ""
    return models / reference.repository.replace("/", "--") / f"{commit}{file}"


def pulled(models: Path) -> list[PulledModel]:
    """Every model that was pulled, the last one first."""
    found = [read(file.parent) for file in models.glob(f"[!.]*/*/{base_models.SETTINGS}")]
    return sorted(
        (model for model in found if model), key=lambda model: model.source.pulled_at, reverse=True
    )


def find(models: Path, reference: Reference) -> PulledModel | None:
    """The model of that name; of several commits, the one that was pulled last."""
    return next((model for model in pulled(models) if _is(model, reference)), None)


def read(folder: Path) -> PulledModel | None:
    """The model in a folder; None where its `rune.json` is not one that a pull wrote."""
    try:
        settings = json.loads((folder / base_models.SETTINGS).read_text(encoding="utf-8"))
        return PulledModel(
            id=settings["id"],
            folder=folder,
            source=Source.model_validate(settings["source"]),
            gguf=settings.get("gguf", []),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def settings_text(model: PulledModel, distillation: dict[str, Any] | None) -> str:
    """The text of `rune.json` for a model."""
    settings: dict[str, Any] = {"id": model.id}
    if model.gguf:
        settings["gguf"] = model.gguf
    if distillation:
        settings |= {"distillation": distillation, "distillation_note": DISTILLATION_NOTE}
    settings["source"] = model.source.model_dump(mode="json")
    return json.dumps(settings, indent=2) + "\n"


def verify(model: PulledModel) -> None:
    """Read every file again.

    Raises:
        BaseModelCorruptedError: one is missing, or is not what was pulled.
    """
    for file in model.source.files:
        path = model.folder / file.name
        try:
            whole = path.stat().st_size == file.size and hash_of(path, file) == file.digest
        except OSError:
            whole = False
        if not whole:
            raise BaseModelCorruptedError(
                f"{path} is not the file that was pulled.",
                next_step=f"Run `rune model remove {model.reference}`, then pull it again.",
            )


def hash_of(path: Path, file: StoredFile) -> str:
    """The hash of what is at `path`, in the way that `file` is hashed."""
    hasher = new_hash(file)
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def new_hash(file: StoredFile) -> hashlib._Hash:
    """A hash to feed the file's bytes; Git puts a header with the size before them."""
    if file.algorithm == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def delete(models: Path, reference: Reference) -> PulledModel:
    """Remove a model from this machine, and what an interrupted pull of it left.

    Raises:
        BaseModelNotFoundError: it was not pulled.
    """
    model = find(models, reference)
    if model is None:
        raise BaseModelNotFoundError(
            f"{reference} was not pulled.", next_step="See `rune model list`."
        )
    # What is half removed must not look whole.
    (model.folder / base_models.SETTINGS).unlink(missing_ok=True)
    remove_entry(model.folder)
    return model


def _is(model: PulledModel, wanted: Reference) -> bool:
    source = model.source
    if source.repository.lower() != wanted.repository.lower():
        return False
    if wanted.file and not names_file(wanted.file, source.file or ""):
        return False
    revision = wanted.revision
    if revision is None or revision == source.revision:
        return True
    return len(revision) >= _SHORTEST_COMMIT and source.commit.startswith(revision)
