"""What every importer is: which files are its agent's, and what they tell.

An importer reads and never writes; it raises `InvalidInputError` for a file that cannot be read at
all, and for nothing else, whatever the file holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rune_engine.capture.steps import Reading


@dataclass(frozen=True, slots=True)
class Importer:
    """One agent's format.

    Args:
        agent: its name, by which a user allows it.
        unit_of: the file or folder that is read when `path` changes; None if it is none of theirs.
        recognises: whether a file is of this format, by its name and its first bytes.
        read: the sessions of a unit. Raises InvalidInputError.
        folders: where the agent keeps its sessions, below the user's home.
    """

    agent: str
    unit_of: Callable[[Path], Path | None]
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path], Reading]
    folders: tuple[str, ...] = ()
