"""Which project a captured task belongs to: the folder it was worked in, here or elsewhere."""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from pathlib import Path

from rune_engine.capture.steps import Edit, Session
from rune_engine.errors import InvalidInputError
from rune_engine.projects import identify, identify_absent


class Places:
    """Answers for one look at a file; asks git once a folder."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def project_of(self, session: Session, cwd: str | None) -> str:
        """The project's id; that of the agent when no folder is known at all."""
        if session.project:
            return session.project
        folder = cwd or session.cwd or _common_folder(session)
        if not folder or "\0" in folder:
            return f"{session.agent}-elsewhere"
        if folder not in self._known:
            self._known[folder] = _identify(folder)
        return self._known[folder]


def _identify(folder: str) -> str:
    if not Path(folder).is_absolute():
        return identify_absent(folder)
    try:
        return identify(Path(folder)).id
    except InvalidInputError:
        return identify_absent(folder)


def _common_folder(session: Session) -> str | None:
    """The folder above all files that were edited, when their paths are absolute."""
    folders = list(_absolute_folders(session.steps))
    return os.path.commonpath(folders) if folders else None


def _absolute_folders(steps: Iterable[object]) -> Iterable[str]:
    for step in steps:
        if isinstance(step, Edit) and Path(step.path).is_absolute():
            yield str(Path(step.path).parent)
