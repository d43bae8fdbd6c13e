"""S13: which adapter a task gets: one, of the most specific level that suffices, or none.

Of a known project its own adapters are weighed: task level (domain and task type), then domain,
then project. Where no project is named the task's text may tell whose it is, if it says so clearly.
A named project without adapters gets none: another's would carry memory from project to project.
Knows nothing of weights; archived adapters and those of other base models do not exist here.
"""

from __future__ import annotations

from collections.abc import Sequence

from rune_engine.config import RoutingSettings
from rune_engine.models import UNNAMED_PROJECT, AdapterInfo, RetrievedAdapter
from rune_engine.registry import AdapterFilter, AdapterRegistry
from rune_engine.routing.weighing import Measured, Weighed, describe, nearness, told, weigh
from rune_engine.routing.whose import TextSearch, Whose
from rune_engine.word_counts import words_of

MOST_OF_A_LEVEL = 8
"""Adapters weighed at a level: the fittest."""
_MORE_IN_A_SMALL_HOME = 0.5
"""Asked of the margin beside what is configured, over the number of projects: where these are few,
little is known of which words are unusual."""


def _not_known(_adapter_id: str) -> None:
    return None


class Router:
    """Chooses from what a registry holds at the moment of asking. Safe to share between threads.

    Args:
        measured: how much more an adapter solved than the base model, where that is known.
    """

    def __init__(
        self,
        registry: AdapterRegistry,
        settings: RoutingSettings | None = None,
        measured: Measured = _not_known,
    ) -> None:
        self._registry = registry
        self._settings = settings or RoutingSettings()
        self._measured = measured
        self._search = TextSearch(registry.taught)

    def retrieve(
        self,
        project_id: str | None,
        domain: str,
        task_type: str,
        base_model_id: str,
        task_description: str | None = None,
    ) -> RetrievedAdapter:
        """The adapter for a task, or none; `reason` says why, for people to read."""
        text = task_description or ""
        if project_id is not None:
            found = self._covering(project_id, domain, task_type, base_model_id)
            if found or project_id != UNNAMED_PROJECT:
                none = self._why_none(project_id, base_model_id, bool(found))
                return self._choose(found, text, none)
        if not text.strip():
            return _none("Neither a project nor a task's text was given, so no memory was chosen.")
        if not self._settings.by_text:
            return _none("No project was named, and memory is not chosen by a text alone here.")
        return self._by_text(text, domain, task_type, base_model_id)

    def _by_text(
        self, text: str, domain: str, task_type: str, base_model_id: str
    ) -> RetrievedAdapter:
        whose = self._search.whose(text, base_model_id)
        if not self._is_clear(whose):
            return _none(_why_unclear(whose))
        project_id = whose.near[0].project_id
        found = self._covering(project_id, domain, task_type, base_model_id)
        found = found or self._registry.in_use(whose.adapters)
        told_by = (
            f"The text is near what project {project_id} was taught "
            f"({whose.near[0].nearness:.2f}, nearer than any other by {whose.margin:.2f})"
        )
        answer = self._choose(found, text, "None of its adapters has proved itself.")
        return answer.model_copy(update={"reason": f"{told_by}. {answer.reason}"})

    def _is_clear(self, whose: Whose) -> bool:
        settings = self._settings
        if not whose.near or whose.near[0].nearness < settings.min_nearness:
            return False
        return whose.margin >= settings.min_margin + _MORE_IN_A_SMALL_HOME / whose.projects

    def _covering(
        self, project_id: str, domain: str, task_type: str, base_model_id: str
    ) -> list[AdapterInfo]:
        """A project's adapters that cover this domain and task type."""
        return [
            adapter
            for level in _levels(project_id, domain, task_type, base_model_id)
            for adapter in self._registry.fittest(level, MOST_OF_A_LEVEL)
        ]

    def _choose(self, found: Sequence[AdapterInfo], text: str, none: str) -> RetrievedAdapter:
        near: dict[str, float] = {}
        if text and found:
            taught = self._registry.taught.of([each.id for each in found])
            near = nearness(words_of(text), taught)
        weighed = weigh(found, near, self._measured, self._settings)
        if not weighed or weighed[0].against is not None:
            return RetrievedAdapter(adapter=None, reason=none, candidates=told(weighed, none))
        chosen = weighed[0]
        reason = f"{describe(chosen)}."
        return RetrievedAdapter(
            adapter=chosen.adapter,
            reason=reason[0].upper() + reason[1:],
            candidates=told(weighed, _why_not_alone(chosen)),
        )

    def _why_none(self, project_id: str, base_model_id: str, some: bool) -> str:
        if some:
            return f"No adapter of project {project_id} has proved itself for such tasks."
        if not self._registry.exists(AdapterFilter(project_id=project_id)):
            return f"Project {project_id} has no adapter in use yet; distill its trajectories."
        fitting = AdapterFilter(project_id=project_id, base_model_id=base_model_id)
        if not self._registry.exists(fitting):
            return (
                f"Project {project_id} has adapters, but none for the base model {base_model_id}."
            )
        return f"No adapter of project {project_id} covers this domain and task type."


def _none(reason: str) -> RetrievedAdapter:
    return RetrievedAdapter(adapter=None, reason=reason, candidates=told([], reason))


def _why_unclear(whose: Whose) -> str:
    if not whose.near:
        return "No project was named, and no adapter was taught anything like this text."
    return (
        "No project was named, and the text does not say clearly whose it is: the nearest project "
        f"has {whose.near[0].nearness:.2f}, {whose.margin:.2f} more than the next."
    )


def _why_not_alone(chosen: Weighed) -> str:
    if chosen.evaluated:
        return "An adapter has proved itself for such tasks."
    return "An adapter is there that nobody has evaluated yet."


def _levels(
    project_id: str, domain: str, task_type: str, base_model_id: str
) -> tuple[AdapterFilter, ...]:
    """What to look for, the most specific first."""
    return (
        AdapterFilter(
            project_id=project_id,
            base_model_id=base_model_id,
            hierarchy_level="task",
            domain=domain,
            task_type=task_type,
        ),
        AdapterFilter(
            project_id=project_id,
            base_model_id=base_model_id,
            hierarchy_level="domain",
            domain=domain,
        ),
        AdapterFilter(
            project_id=project_id, base_model_id=base_model_id, hierarchy_level="project"
        ),
    )
