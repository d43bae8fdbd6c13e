"""The guard at work: after each live task, without anybody asking.

A demotion is one transaction with its event. Works whatever else the schedule waits for, as it
takes a query. Knows nothing of how live outcomes are judged.
"""

from __future__ import annotations

import threading

from rune_engine.config import EvolutionSettings
from rune_engine.database import Database
from rune_engine.errors import OutdatedDecisionError
from rune_engine.evolution.plan import guarded
from rune_engine.jobs.decisions import carry_out
from rune_engine.jobs.standing import Standings

_PROJECTS = "SELECT DISTINCT project_id FROM trajectories WHERE source = 'agent_loop'"


class Guard:
    """Takes adapters out of use whose live outcomes fell under the base model's."""

    def __init__(self, database: Database, settings: EvolutionSettings) -> None:
        self._database = database
        self._settings = settings
        self._standings = Standings(database)
        self._lock = threading.Lock()
        self._waiting: set[str] | None = None
        """Projects to look at; None is all, as when nobody has looked yet."""

    def look_at(self, project_id: str) -> None:
        """Say that the local model has tried a task of a project; from any thread."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.add(project_id)

    def __call__(self) -> list[str]:
        """Look at every project that waits for it; the adapters that went."""
        if not self._settings.guard:
            return []
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        if waiting is None:
            waiting = {row[0] for row in self._database.query(_PROJECTS)}
        return [each for project in sorted(waiting) for each in self._guard(project)]

    def _guard(self, project_id: str) -> list[str]:
        facts = self._standings.facts(project_id)
        demoted: list[str] = []
        for step in guarded(facts.standings, self._settings):
            try:
                with self._database.writing() as session:
                    carry_out(
                        session,
                        step,
                        project_id=project_id,
                        caused_by="schedule",
                        as_of=facts.as_of,
                    )
            except OutdatedDecisionError:
                self.look_at(project_id)
                continue
            demoted += step.archive
        return demoted
