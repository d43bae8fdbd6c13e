"""Tasks outside an adapter's domain, by which to see what it harms: generated ones, with tests.

Half are plain tasks, which need nothing but Python; half come with the documentation of a small
generated package that no model has seen. They follow from the seed, so every adapter of a base
model is judged by the same ones, and the base model need be asked only once. Other projects' own
held-out tasks, where there are any, are chosen elsewhere. Knows no model and no database.
"""

from __future__ import annotations

import random
from pathlib import Path

from project_worlds import make_plain_task, make_project, make_project_task
from project_worlds.project import Project
from project_worlds.tasks import Task, random_steps
from rune_engine.evaluation.tasks import HeldOutTask

_FIRST_WORLD = 5_000_000
"""The gate's worlds begin at 700,000, those that hypernetworks are trained on at 2,000,000."""


def generated_tasks(count: int, folder: Path, seed: int = 0) -> list[HeldOutTask]:
    """`count` different tasks.

    Args:
        folder: where the packages of the documented ones are laid out.
    """
    found: dict[str, HeldOutTask] = {}
    number = 0
    while len(found) < count:
        each = _documented(seed, number, folder) if number % 2 else _plain(seed, number)
        number += 1
        if each.tests.strip():
            found.setdefault(each.task, each)
    return list(found.values())


def _plain(seed: int, number: int) -> HeldOutTask:
    task = make_plain_task(random.Random(f"out-of-domain-{seed}-{number}"))
    return _task(task, task.description)


def _documented(seed: int, number: int, folder: Path) -> HeldOutTask:
    project = make_project(_FIRST_WORLD + 1_000 * seed + number)
    workspace = folder / project.name
    project.write(workspace)
    task = _project_task(project, random.Random(f"out-of-domain-{seed}-{number}"))
    return _task(task, f"{project.documentation()}\n\n{task.description}", workspace)


def _project_task(project: Project, rng: random.Random) -> Task:
    steps = random_steps(rng, project.operations, project.domain, rng.choice((1, 2)))
    wordings = [rng.choice(step.operation.phrases) for step in steps]
    return make_project_task(project, steps, wordings, rng)


def _task(task: Task, description: str, workspace: Path | None = None) -> HeldOutTask:
    return HeldOutTask(
        description=description,
        tests=task.tests,
        group="out_of_domain",
        reference=task.solution,
        workspace=workspace,
        sealed=True,
    )
