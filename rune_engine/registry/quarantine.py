"""Where files go that nothing refers to, or that are damaged: aside, never away.

quarantine/<time>-<random>/<where they were in the home>
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from rune_engine.durable import flush_folder, make_folder


class Quarantine:
    """One folder of its own, made when the first thing is moved there."""

    def __init__(self, home: Path) -> None:
        self._home = home
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.folder = home / "quarantine" / f"{stamp}-{uuid.uuid4().hex[:8]}"
        self.moved: list[str] = []

    def take(self, path: Path) -> None:
        """Move a file or folder of the home here, durably."""
        place = path.relative_to(self._home)
        folder = self._home
        for name in (*self.folder.relative_to(self._home).parts, *place.parent.parts):
            folder = folder / name
            make_folder(folder)
        path.rename(folder / place.name)
        flush_folder(folder)
        flush_folder(path.parent)
        self.moved.append(str(place))
