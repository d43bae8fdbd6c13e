"""Capture as the engine has it: sources, capturing and the follower as one. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from rune_engine.capture.capturing import Capturing
from rune_engine.capture.follower import Follower
from rune_engine.capture.hook_folder import SOURCE as HOOKS_SOURCE
from rune_engine.capture.hook_folder import HookFolder
from rune_engine.capture.importers import IMPORTERS, units_below
from rune_engine.capture.sources import Sources
from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.errors import InvalidInputError
from rune_engine.models import (
    CaptureParams,
    CaptureReport,
    CaptureStatus,
    Provenance,
    SourceParams,
    SourceState,
    SourceStatus,
    Trajectory,
)
from rune_engine.trajectories import TrajectoryStore

_NEWEST = 10


class Captures:
    """Captures into one engine's home; belongs to one event loop.

    Args:
        on_stored: told, on any thread, after a trajectory was stored.
        on_activity: told when something is followed.
        on_crash: told of an error that nothing here expects.
    """

    def __init__(
        self,
        config: RuneConfig,
        database: Database,
        trajectories: TrajectoryStore,
        *,
        on_stored: Callable[[], None],
        on_activity: Callable[[], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._hooks = HookFolder(config)
        self._trajectories = trajectories
        self._sources = Sources(database, config)
        self._capturing = Capturing(config, database, trajectories, self._sources, on_stored)
        self._follower = Follower(
            config,
            self._capturing,
            self._sources,
            on_activity=on_activity,
            on_crash=on_crash,
        )

    def start(self) -> None:
        """Follow what is allowed."""
        self._follower.start()

    async def stop(self) -> None:
        await self._follower.stop()

    def import_path(self, params: CaptureParams) -> CaptureReport:
        """Read one session file; see `Capturing.import_path`."""
        return self._capturing.import_path(params)

    def set_source(self, params: SourceParams) -> CaptureStatus:
        """Allow or forbid a source, and act on it at once.

        Raises:
            InvalidInputError: there is no such source.
            StorageError: it could not be written.
        """
        self._sources.set(params.source, allowed=params.allowed)
        if params.source == HOOKS_SOURCE:
            self._hooks.tell(self._sources.state(HOOKS_SOURCE))
        self._follower.look_round()
        return self.status()

    def status(self) -> CaptureStatus:
        """Every source, and the newest captured trajectories."""
        counts = self._capturing.provenance.counts()
        return CaptureStatus(
            following=self._follower.following,
            sources=[self._source(name, *counts.get(name, (0, 0))) for name in sorted(IMPORTERS)],
            newest=self._capturing.provenance.newest(_NEWEST),
        )

    def provenance(self, trajectory_id: str) -> Provenance:
        """Where a trajectory came from, captured or not.

        Raises:
            TrajectoryNotFoundError: there is none of that id.
        """
        found = self._capturing.provenance.of(trajectory_id)
        return found or _uncaptured(self._trajectories.get(trajectory_id))

    def origin(self, trajectory_id: str) -> tuple[Provenance | None, SourceState | None]:
        """Where a trajectory was captured and whether that may be read now; None if it was not."""
        found = self._capturing.provenance.of(trajectory_id)
        if found is None or found.source not in IMPORTERS:
            return found, None
        return found, self._sources.state(found.source)

    def _source(self, name: str, sessions: int, trajectories: int) -> SourceStatus:
        folders = self._sources.folders(name)
        waiting = 0
        for unit in (unit for folder in folders for unit in units_below(folder, IMPORTERS[name])):
            with suppress(InvalidInputError):
                waiting += not self._capturing.is_read(unit)
        return SourceStatus(
            source=name,
            state=self._sources.state(name),
            folders=[str(folder) for folder in folders],
            waiting=waiting,
            sessions=sessions,
            trajectories=trajectories,
        )


def _uncaptured(trajectory: Trajectory) -> Provenance:
    """Where a trajectory that was not captured came from, as far as it says so itself."""
    git = trajectory.provenance
    return Provenance(
        trajectory_id=trajectory.id,
        session_id=trajectory.session_id,
        source=trajectory.source,
        path=git.path if git else "",
        agent=trajectory.agent_id or "",
        agent_session=git.commit_id if git else trajectory.session_id,
        task=0,
        captured_by=None,
        captured_at=trajectory.created_at,
    )
