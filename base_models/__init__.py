"""The base models that ship with Rune, and where they are. Knows nothing of the rest of Rune.

A base model is a folder that Transformers loads; Rune adds `rune.json` with the model's id and
the distillation settings that suit it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BaseModelFolder", "describe", "shipped"]

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class BaseModelFolder:
    """A base model on disk.

    `distillation` holds recommended settings (`rank`, `max_steps`, `learning_rate`,
    `target_modules`, ...); it is empty for a folder without `rune.json`.
    """

    id: str
    path: Path
    distillation: dict[str, Any] = field(default_factory=dict)


def shipped() -> list[str]:
    """The names of the base models in this package."""
    return sorted(p.parent.name for p in _HERE.glob("*/config.json"))


def describe(name_or_folder: str) -> BaseModelFolder:
    """Find a shipped base model by name, or a base model folder by path.

    Raises:
        FileNotFoundError: neither is there.
    """
    folder = _HERE / name_or_folder if name_or_folder in shipped() else Path(name_or_folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(name_or_folder)
    folder = folder.resolve()
    settings_file = folder / "rune.json"
    if not settings_file.is_file():
        return BaseModelFolder(id=folder.name, path=folder)
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    return BaseModelFolder(
        id=settings["id"], path=folder, distillation=settings.get("distillation", {})
    )
