"""Session files become trajectories: read, turned into tasks, stored with their provenance.

What was stored is never changed: a task that is the same is known, one that has grown is stored
anew. What was forgotten stays so, by its session. Recorded text is data: nothing here looks into
it for anything but what was done. Knows no clock but the limit's, and follows nothing.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rune_engine.capture import provenance
from rune_engine.capture.files import read_bytes
from rune_engine.capture.importers import Importer, detect, importer_of
from rune_engine.capture.places import Places
from rune_engine.capture.provenance import Cursor, Origin, ProvenanceStore
from rune_engine.capture.sources import Sources
from rune_engine.capture.steps import Reading, Session
from rune_engine.capture.tasks import Task, clean, tasks_of
from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.errors import ConflictError, InvalidInputError
from rune_engine.models import (
    CapturedBy,
    CapturedTask,
    CaptureParams,
    CaptureReport,
    TaskStatus,
    TrajectoryDraft,
)
from rune_engine.privacy import redact
from rune_engine.rates import PerMinute
from rune_engine.trajectories import TrajectoryStore

log = logging.getLogger(__name__)

LONGEST_CALL_SECONDS = 3600.0
"""A tool that has not answered for so long never will."""
_SHOWN_CHARS = 100
_LONGEST_ID = 80


@dataclass(frozen=True, slots=True)
class Look:
    """How a file is looked at.

    Args:
        final: whether its sessions have ended, whatever the file says.
        still_seconds: since it last changed; a session that never says its end has ended then.
        project_id: instead of the one that the session's folder is in.
    """

    captured_by: CapturedBy
    final: bool
    still_seconds: float = 0.0
    dry_run: bool = False
    project_id: str | None = None


class Capturing:
    """Captures into one home. Safe to share between threads.

    Args:
        on_stored: told after a trajectory was stored.
    """

    def __init__(
        self,
        config: RuneConfig,
        database: Database,
        trajectories: TrajectoryStore,
        sources: Sources,
        on_stored: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config.capture
        self._trajectories = trajectories
        self._sources = sources
        self._on_stored = on_stored
        self.provenance = ProvenanceStore(database)
        self._limit = PerMinute(self._config.max_per_minute)

    def import_path(self, params: CaptureParams) -> CaptureReport:
        """Read what a user named; that they named it allows it, unless they forbade the source.

        Raises:
            InvalidInputError: it cannot be read, or nobody knows the format.
            SourceForbiddenError: its source is forbidden.
        """
        path = Path(params.path).expanduser().absolute()
        importer = importer_of(params.agent) if params.agent else _detected(path)
        self._sources.require_not_forbidden(importer.agent)
        look = Look("import", final=True, dry_run=params.dry_run, project_id=params.project_id)
        return self.look(path, importer, look)

    def look(self, path: Path, importer: Importer, look: Look) -> CaptureReport:
        """Read a file once, and store what it tells of tasks that nothing can be added to.

        Raises:
            InvalidInputError: it cannot be read.
        """
        before = state_of(path)
        if before.size > self._config.max_file_bytes:
            read_bytes(path, self._config.max_file_bytes)
        reading, found = _read(path, importer)
        places, tasks, every_final = Places(), list[CapturedTask](), True
        for session, told in zip(reading.sessions, found, strict=True):
            final = look.final or session.ended or look.still_seconds >= self._rest(session)
            every_final = every_final and final
            origin = _origin(session, importer.agent, path, look.captured_by)
            for task in told:
                task = replace(task, closed=task.closed or final)
                tasks.append(self._take(task, session, origin, look, places))
        taken = every_final and all(task.status != "deferred" for task in tasks)
        if taken and not look.dry_run:
            self.provenance.set_cursor(str(path), importer.agent, before)
        return CaptureReport(
            path=str(path),
            source=importer.agent,
            sessions=len(reading.sessions),
            tasks=tasks,
            understood=dict(reading.understood),
            skipped=dict(reading.skipped),
        )

    def _rest(self, session: Session) -> float:
        """Seconds without a change after which a session counts as ended."""
        return LONGEST_CALL_SECONDS if session.waiting else self._config.quiet_seconds

    def is_read(self, path: Path) -> bool:
        """Whether a file is as it was when all it told was taken."""
        return self.provenance.cursor(str(path)) == state_of(path)

    def _take(
        self, task: Task, session: Session, origin: Origin, look: Look, places: Places
    ) -> CapturedTask:
        """Store one task, unless there is a reason not to."""
        project_id = look.project_id or places.project_of(session, task.cwd)
        shown = partial(_shown, task, origin, project_id)
        known = self.provenance.known(origin.session_id, task.number, task.fingerprint)
        if known is not None:
            return shown("known", known)
        if self.provenance.is_erased(origin.session_id):
            return shown("forgotten")
        if not task.closed:
            return shown("open")
        if look.dry_run:
            return shown("new")
        if look.captured_by == "follower" and not self._limit.admits():
            return shown("deferred")
        try:
            trajectory_id, duplicate = self._store(task, session, origin, project_id)
        except (ConflictError, InvalidInputError, ValueError) as error:
            return shown("refused", reason=_reason(error))
        return shown("known" if duplicate else "stored", trajectory_id)

    def _store(
        self, task: Task, session: Session, origin: Origin, project_id: str
    ) -> tuple[str, bool]:
        draft = TrajectoryDraft(
            project_id=project_id,
            task_description=task.description,
            attempts=list(task.attempts),
            outcome=task.outcome,
            session_id=origin.session_id,
            agent_id=session.agent,
        )
        trajectory, duplicate = self._trajectories.record(
            draft,
            also=lambda connection, trajectory_id: provenance.add(
                connection, origin, task.number, task.fingerprint, trajectory_id
            ),
        )
        if not duplicate:
            self._on_stored()
        return trajectory.id, duplicate


def state_of(path: Path) -> Cursor:
    """How a file is now; of a folder, its newest file and the size of all.

    Raises:
        InvalidInputError: it is not there.
    """
    try:
        if not path.is_dir():
            status = path.stat()
            return Cursor(status.st_size, status.st_mtime_ns)
        found = [file.stat() for file in path.iterdir() if file.is_file()]
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{str(path)[:300]} cannot be read: {getattr(error, 'strerror', None) or error}.",
            next_step="Give a session file, or a folder of such files.",
        ) from error
    newest = max((status.st_mtime_ns for status in found), default=0)
    return Cursor(sum(status.st_size for status in found), newest)


def _read(path: Path, importer: Importer) -> tuple[Reading, list[list[Task]]]:
    """What an importer makes of a file, and each session's tasks; if it fails, no other file does.

    Raises:
        InvalidInputError: it cannot be read.
    """
    try:
        reading = importer.read(path)
        return reading, [tasks_of(session) for session in reading.sessions]
    except InvalidInputError:
        raise
    except Exception as error:
        log.warning("The importer of %s failed", importer.agent, exc_info=error)
        raise InvalidInputError(
            f"{str(path)[:300]} cannot be understood: the importer of {importer.agent} failed over"
            f" it ({type(error).__name__}).",
            next_step="This is a defect of the importer; please report it.",
        ) from error


def session_id_of(source: str, session: Session) -> str:
    """The id under which a session is kept: always the same for the same session of an agent."""
    own = session.id if source == session.agent else f"{session.agent}-{session.id}"
    name = f"{source}-{own}"
    if re.fullmatch(r"[A-Za-z0-9_-]+", name) and len(name) <= _LONGEST_ID:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:24]
    return f"{source}-{digest}"


def _detected(path: Path) -> Importer:
    state_of(path)
    for file in (path, *(sorted(path.iterdir())[:3] if path.is_dir() else ())):
        if (found := detect(file)) is not None:
            return found
    raise InvalidInputError(
        f"{str(path)[:300]} is no session file that is known.",
        next_step="Name the agent it is of with `--agent`.",
    )


def _origin(session: Session, source: str, path: Path, captured_by: CapturedBy) -> Origin:
    return Origin(
        session_id=session_id_of(source, session),
        source=source,
        path=str(path).encode("utf-8", "replace").decode()[:4096],
        agent=session.agent,
        agent_session=clean(session.id)[:200],
        captured_by=captured_by,
    )


def _shown(
    task: Task,
    origin: Origin,
    project_id: str,
    status: TaskStatus,
    trajectory_id: str | None = None,
    reason: str = "",
) -> CapturedTask:
    line = " ".join(redact(task.description[: 4 * _SHOWN_CHARS]).text.split())
    return CapturedTask(
        session_id=origin.session_id,
        task=task.number,
        project_id=project_id,
        description=line[:_SHOWN_CHARS],
        attempts=len(task.attempts),
        outcome=task.outcome,
        status=status,
        trajectory_id=trajectory_id,
        reason=reason,
    )


def _reason(error: Exception) -> str:
    """Why it was not stored, without its text."""
    return str(error)[:300] if isinstance(error, ConflictError) else type(error).__name__
