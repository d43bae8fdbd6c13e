"""A home to capture into, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rune_engine.capture.capturing import Capturing
from rune_engine.capture.sources import Sources
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.forgetting import Forgetting
from rune_engine.models import CapturedTask, CaptureParams
from rune_engine.trajectories import Consent, TrajectoryStore


class CaptureHome:
    """The stores of one home, in this process."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.config = load_config(home=folder / "home", capture=settings)
        self.database = open_database(self.config)
        self.store = TrajectoryStore(self.database)
        self.consent = Consent(self.database)
        self.sources = Sources(self.database, self.config)
        self.forgetting = Forgetting(self.database, self.config)
        self.capturing = Capturing(self.config, self.database, self.store, self.sources)

    def capture(self, path: Path, **params: Any) -> list[CapturedTask]:
        """What became of the tasks of a file that the user named."""
        given = CaptureParams(path=str(path), **params)
        return self.capturing.import_path(given).tasks
