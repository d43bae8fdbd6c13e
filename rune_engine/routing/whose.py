"""Whose task is it, told by its text alone: one project, or none where that is not clear.

Keeps an index of each base model's adapters in memory, made at the first question and kept current
by the number of the last event: whoever changes an adapter, in whatever process, adds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from threading import Lock

from rune_engine.registry.taught import Changes, TaughtWords
from rune_engine.routing.text_index import Near, TextIndex
from rune_engine.word_counts import words_of


@dataclass(frozen=True, slots=True)
class Whose:
    """The nearest projects to a text, the nearest first, and the first one's adapters.

    `projects` is how many there are to be near to.
    """

    near: list[Near]
    adapters: frozenset[str]
    projects: int

    @property
    def margin(self) -> float:
        """By how much the first is nearer than the second."""
        nearness = [each.nearness for each in self.near[:2]]
        return nearness[0] - sum(nearness[1:]) if nearness else 0.0


class TextSearch:
    """Answers from what a registry holds at the moment of asking. Safe to share between threads."""

    def __init__(self, taught: TaughtWords) -> None:
        self._taught = taught
        self._lock = Lock()
        self._indexes: dict[str, tuple[int, TextIndex]] = {}

    def whose(self, text: str, base_model_id: str) -> Whose:
        """The projects whose adapters of this base model were taught what is nearest to a text."""
        words = words_of(text)
        with self._lock:
            index = self._current(base_model_id)
            near = index.nearest(words)
            adapters = index.adapters(near[0].project_id) if near else frozenset[str]()
            return Whose(near, adapters, len(index))

    def _current(self, base_model_id: str) -> TextIndex:
        upto, index = self._indexes.get(base_model_id, (None, TextIndex()))
        if upto is None or upto != self._taught.newest_event():
            changes = self._taught.changes(base_model_id, upto)
            index = _changed(index, changes)
            self._indexes[base_model_id] = changes.upto, index
        return index


def _changed(index: TextIndex, changes: Changes) -> TextIndex:
    of_project = {
        project_id: list(adapters)
        for project_id, adapters in groupby(
            sorted(changes.taught, key=lambda each: each.project_id),
            key=lambda each: each.project_id,
        )
    }
    if changes.projects is None:
        index = TextIndex()
    for project_id in of_project if changes.projects is None else changes.projects:
        index.put(project_id, of_project.get(project_id, ()))
    return index
