"""The base models that ship with Rune, and what a base model on disk says of itself.

A base model is a folder that Transformers loads, or a `.gguf` file; Rune adds `rune.json` with the
model's id and the distillation settings that suit it. Knows nothing of the rest of Rune, nor where
models that were downloaded lie.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base_models.gguf_header import BASE_MODEL_ID, read_header

__all__ = ["SETTINGS", "BaseModelFolder", "describe", "shipped"]

SETTINGS = "rune.json"
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class BaseModelFolder:
    """A base model on disk.

    `path` is its folder, or its `.gguf` file (the first one of a split model). `distillation`
    holds recommended settings (`rank`, `max_steps`, `learning_rate`, `target_modules`, ...), and
    `closed_form` those of a distillation without training; both are empty without `rune.json`.
    """

    id: str
    path: Path
    distillation: dict[str, Any] = field(default_factory=dict)
    closed_form: dict[str, Any] = field(default_factory=dict)

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file, which can be served but not distilled into."""
        return self.path.suffix == ".gguf"


def shipped() -> list[str]:
    """The names of the base models in this package."""
    return sorted(p.parent.name for p in _HERE.glob("*/config.json"))


def describe(name_or_path: str) -> BaseModelFolder:
    """Find a shipped base model by name, or a base model's folder or `.gguf` file by path.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: its `rune.json`, or the GGUF file itself, is damaged.
    """
    path = _HERE / name_or_path if name_or_path in shipped() else Path(name_or_path).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _gguf(path.resolve())
    if not (path / "config.json").is_file():
        raise FileNotFoundError(name_or_path)
    path = path.resolve()
    settings = _settings(path / SETTINGS)
    return BaseModelFolder(
        id=settings.get("id", path.name),
        path=path,
        distillation=settings.get("distillation", {}),
        closed_form=settings.get("closed_form", {}),
    )


def _gguf(file: Path) -> BaseModelFolder:
    """Its id is what `rune.json` beside it says, its own header, or its name."""
    said = read_header(file).get(BASE_MODEL_ID)
    settings = _settings(file.parent / SETTINGS)
    if file.name in settings.get("gguf", ()):
        said = settings.get("id")
    return BaseModelFolder(id=str(said or file.stem), path=file)


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    settings = json.loads(file.read_text(encoding="utf-8"))
    kinds = {"id": str, "gguf": list, "distillation": dict, "closed_form": dict}
    if not isinstance(settings, dict) or not all(
        isinstance(settings.get(name, kind()), kind) for name, kind in kinds.items()
    ):
        raise ValueError(f"{file} is not a base model's settings")
    return settings
