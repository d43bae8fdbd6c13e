"""S13: which adapter a task gets: one, the most specific there is.

Task level first (project, domain and task type), then the project's domain, then the project.
Within a level the fittest wins, unevaluated ones come last, and of equals the newest. Knows
nothing of weights; archived adapters and those of other projects or base models do not exist here.
"""

from __future__ import annotations

from rune_engine.models import AdapterInfo, RetrievedAdapter
from rune_engine.registry import AdapterFilter, AdapterRegistry


class Router:
    """Chooses from what a registry holds at the moment of asking."""

    def __init__(self, registry: AdapterRegistry) -> None:
        self._registry = registry

    def retrieve(
        self, project_id: str, domain: str, task_type: str, base_model_id: str
    ) -> RetrievedAdapter:
        """The adapter for a task, or none; `reason` says why, for people to read."""
        for level in _levels(project_id, domain, task_type, base_model_id):
            adapter = self._registry.best(level)
            if adapter is not None:
                return RetrievedAdapter(adapter=adapter, reason=_why(adapter))
        return RetrievedAdapter(adapter=None, reason=self._why_none(project_id, base_model_id))

    def _why_none(self, project_id: str, base_model_id: str) -> str:
        if not self._registry.exists(AdapterFilter(project_id=project_id)):
            return f"Project {project_id} has no adapter in use yet; distill its trajectories."
        fitting = AdapterFilter(project_id=project_id, base_model_id=base_model_id)
        if not self._registry.exists(fitting):
            return (
                f"Project {project_id} has adapters, but none for the base model {base_model_id}."
            )
        return f"No adapter of project {project_id} covers this domain and task type."


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


def _why(adapter: AdapterInfo) -> str:
    covers = {
        "task": f"task type {adapter.task_type} in domain {adapter.domain}",
        "domain": f"domain {adapter.domain}",
        "project": "the whole project",
    }[adapter.hierarchy_level]
    if adapter.fitness_score is None:
        measured = "not evaluated yet"
    else:
        measured = f"fitness {adapter.fitness_score:.3f}"
    return f"The {adapter.hierarchy_level}-level adapter for {covers}, {measured}."
