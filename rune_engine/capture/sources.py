"""Which agents' sessions may be read: the newest word of the user, kept as lifecycle events.

A source that was never spoken of is in quarantine: its files are counted and shown, not read.
"""

from __future__ import annotations

from pathlib import Path

from rune_engine import events
from rune_engine.capture.importers import IMPORTERS, importer_of
from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.errors import SourceForbiddenError
from rune_engine.models import EventKind, SourceState

_NEWEST = (
    "SELECT kind, max(seq) FROM lifecycle_events"
    " WHERE subject = ? AND kind IN ('capture_allowed', 'capture_forbidden')"
)


class Sources:
    """The sources of one home. Safe to share between threads and processes."""

    def __init__(self, database: Database, config: RuneConfig) -> None:
        self._database = database
        self._config = config

    def state(self, source: str) -> SourceState:
        """What the user said last of a source.

        Raises:
            InvalidInputError: there is no such source.
        """
        importer_of(source)
        kind = self._database.query(_NEWEST, [_subject(source)])[0][0]
        return {None: "undecided", "capture_allowed": "allowed"}.get(kind, "forbidden")  # type: ignore[return-value]

    def allowed(self) -> list[str]:
        """The sources that may be read."""
        return [source for source in IMPORTERS if self.state(source) == "allowed"]

    def set(self, source: str, *, allowed: bool) -> None:
        """Allow or forbid a source; what it was already is not written again."""
        if self.state(source) == ("allowed" if allowed else "forbidden"):
            return
        with self._database.writing() as session:
            kind: EventKind = "capture_allowed" if allowed else "capture_forbidden"
            events.append(session, kind, _subject(source))

    def require_not_forbidden(self, source: str) -> None:
        """Refuse a source that the user has forbidden.

        Raises:
            SourceForbiddenError: nothing of it may be read.
        """
        if self.state(source) == "forbidden":
            raise SourceForbiddenError(
                f"The sessions of {source} may not be read; nothing was.",
                next_step=f"`rune capture allow {source}` allows them.",
            )

    def folders(self, source: str) -> list[Path]:
        """Where a source's sessions are, as far as these folders exist."""
        if source == "inbox":
            named = [self._config.inbox_path]
        elif source in self._config.capture.folders:
            named = [path.expanduser() for path in self._config.capture.folders[source]]
        else:
            named = [Path.home() / folder for folder in importer_of(source).folders]
        return [folder.resolve() for folder in named if folder.is_dir()]


def _subject(source: str) -> str:
    return f"source:{source}"
