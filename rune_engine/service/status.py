"""What Rune holds and what it is doing, gathered from its stores."""

from __future__ import annotations

import os
from collections.abc import Sequence

import rune_engine
from rune_engine.config import RuneConfig
from rune_engine.jobs.store import JobStore
from rune_engine.models import MemoryStatus, ProjectStatus
from rune_engine.registry import AdapterRegistry
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore

MOST_PROJECTS = 50
"""An editor pays for every line of an answer; the largest projects are shown."""


def memory_status(
    config: RuneConfig,
    base_model_id: str,
    provider: str,
    worker_pids: Sequence[int],
    sandbox: Sandbox,
    registry: AdapterRegistry,
    trajectories: TrajectoryStore,
    jobs: JobStore,
) -> MemoryStatus:
    """One picture of the whole; reads the database, starts nothing."""
    adapters = registry.counts()
    projects = _projects(adapters.by_project, trajectories)
    return MemoryStatus(
        home=str(config.home),
        version=rune_engine.__version__,
        base_model_id=base_model_id,
        provider=provider,
        sandbox=sandbox.describe(),
        engine_pid=os.getpid(),
        worker_pids=list(worker_pids),
        adapters=adapters.active,
        archived_adapters=adapters.archived,
        trajectories=sum(project.trajectories for project in projects),
        projects=sorted(projects, key=_size, reverse=True)[:MOST_PROJECTS],
        total_projects=len(projects),
        jobs=jobs.counts(),
    )


def project_status(
    project_id: str, trajectories: TrajectoryStore, registry: AdapterRegistry
) -> ProjectStatus:
    """One project's figures; all 0 when nothing is known of it."""
    projects = _projects({project_id: 0, **registry.counts().by_project}, trajectories)
    return next(project for project in projects if project.project_id == project_id)


def _projects(adapters: dict[str, int], trajectories: TrajectoryStore) -> list[ProjectStatus]:
    """Every project that has a trajectory or an adapter."""
    counts = {count.project_id: count for count in trajectories.counts()}
    projects = []
    for name in sorted({*counts, *adapters}):
        count = counts.get(name)
        projects.append(
            ProjectStatus(
                project_id=name,
                trajectories=count.trajectories if count else 0,
                distillable_trajectories=count.distillable if count else 0,
                held_out_trajectories=count.held_out if count else 0,
                unknown_trajectories=count.unknown if count else 0,
                adapters=adapters.get(name, 0),
            )
        )
    return projects


def _size(project: ProjectStatus) -> tuple[int, int]:
    return project.trajectories, project.adapters
