"""Each agent's format, one module an agent; and which of them a file is in.

Every importer turns what an agent wrote into `steps`. To add one: a module with an `IMPORTER`, a
line here, a test of its contract.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rune_engine.capture.files import read_head
from rune_engine.capture.importers import (
    aider,
    claude_code,
    cline,
    codex,
    continue_dev,
    inbox,
    mini_swe_agent,
    openhands,
    swe_agent,
)
from rune_engine.capture.importers.importer import Importer
from rune_engine.errors import InvalidInputError

__all__ = ["IMPORTERS", "Importer", "detect", "importer_of", "sessions_below", "units_below"]

IMPORTERS: dict[str, Importer] = {
    importer.agent: importer
    for importer in (
        inbox.IMPORTER,
        mini_swe_agent.IMPORTER,
        swe_agent.IMPORTER,
        codex.IMPORTER,
        continue_dev.IMPORTER,
        aider.IMPORTER,
        cline.IMPORTER,
        cline.ROO,
        openhands.IMPORTER,
        claude_code.IMPORTER,
    )
}
"""By agent, the more particular formats first."""
MOST_FILES = 50_000


def importer_of(agent: str) -> Importer:
    """The importer of an agent.

    Raises:
        InvalidInputError: there is none.
    """
    if agent in IMPORTERS:
        return IMPORTERS[agent]
    raise InvalidInputError(
        f"There is no importer for {agent[:60]!r}.",
        next_step=f"Known are {', '.join(sorted(IMPORTERS))}.",
    )


def detect(path: Path) -> Importer | None:
    """Whose file this is, by its name and its first bytes."""
    head = read_head(path)
    return next((one for one in IMPORTERS.values() if one.recognises(path, head)), None)


def units_below(folder: Path, importer: Importer) -> Iterator[Path]:
    """What an importer would read below a folder, each once; links are not followed."""
    seen: set[Path] = set()
    for number, file in enumerate(_files(folder)):
        if number >= MOST_FILES:
            return
        unit = importer.unit_of(file)
        if unit is not None and unit not in seen:
            seen.add(unit)
            yield unit


def sessions_below(path: Path, agent: str | None = None) -> Iterator[tuple[Path, Importer]]:
    """The sessions' files at or below a path, each once, and whose each is; known by what is in
    them, not by where they are.

    Raises:
        InvalidInputError: there is no importer of that name.
    """
    wanted = importer_of(agent) if agent else None
    seen: set[Path] = set()
    for file in _files(path) if path.is_dir() else [path]:
        importer = wanted or detect(file)
        if importer is None or not (wanted is None or wanted.recognises(file, read_head(file))):
            continue
        unit = importer.unit_of(file) or file
        if unit not in seen:
            seen.add(unit)
            yield unit, importer


def _files(folder: Path) -> Iterator[Path]:
    for below, folders, names in os.walk(folder):
        folders.sort()
        yield from (
            Path(below, name) for name in sorted(names) if not Path(below, name).is_symlink()
        )
