"""What a run was made of, JSON-ready: versions, settings, subjects. Knows no figure."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rune_engine
from rune_engine.experiments.recording import Taught
from rune_engine.experiments.settings import GateSettings
from rune_engine.experiments.subjects import NEW_WORDINGS

_LIBRARIES = ("torch", "transformers", "peft", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Rune's, Python's and the libraries', by name; what is not installed is left out."""
    found = {"rune": rune_engine.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def subjects(taught: Sequence[Taught]) -> list[dict[str, Any]]:
    """Each subject in numbers."""
    return [
        {
            "name": each.subject.name,
            "seed": each.subject.group,
            "trajectories": len(each.trajectories),
            "with_failed_attempts": sum(len(t.attempts) > 1 for t in each.trajectories),
            "tasks": len(each.subject.tasks),
            "plain": len(each.subject.plain),
            "new_wordings_of_recorded_code": _recorded_code(each),
        }
        for each in taught
    ]


def _recorded_code(each: Taught) -> int:
    """New wordings whose steps, in the same order, some session had in other words."""
    recorded = {lesson.operations for lesson in each.subject.lessons}
    tasks = [task for task in each.subject.tasks if task.kind == NEW_WORDINGS]
    return sum(task.operations in recorded for task in tasks)


def settings(given: GateSettings) -> dict[str, Any]:
    """The settings, without folders of this machine."""
    told = asdict(given)
    told["base"] = Path(given.base).name
    told["suite"] = given.suite.name if given.suite else None
    return told
