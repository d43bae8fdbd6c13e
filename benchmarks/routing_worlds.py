"""Homes full of adapters that were taught generated projects' tasks, and questions to ask them.

Rows and words only: the router reads no weights. Every fourth project has a task-level and a
domain-level adapter beside the one of the whole project.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert

from project_worlds import make_held_out, make_project, make_sessions
from rune_engine.config import load_config
from rune_engine.database import open_database, utc_now
from rune_engine.registry.records import AdapterRecord
from rune_engine.word_counts import count_words

BASE_MODEL = "rune-nano"
SESSIONS = 12
KINDS = ("new combinations", "new wordings")


@dataclass(frozen=True, slots=True)
class World:
    """A generated project: what it was taught, and by kind what it is asked afterwards."""

    id: str
    domain: str
    taught: tuple[str, ...]
    asked: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Question:
    """A task's text and whose it is; None: nobody's whose adapters are there."""

    kind: str
    text: str
    project: World | None
    task_type: str = "feature-impl"


def make_world(seed: int, *, asked: bool) -> World:
    """The project of this seed; only those that are asked share their names with nobody else."""
    project = make_project(seed, "evaluation" if asked else "training")
    sessions = make_sessions(project, SESSIONS, tested=False)
    questions: dict[str, tuple[str, ...]] = {}
    if asked:
        held_out = make_held_out(project, sessions, tested=False)
        for kind, tasks in zip(
            KINDS, (held_out.new_combinations, held_out.new_wordings), strict=True
        ):
            questions[kind] = tuple(task.description for task in tasks)
    taught = tuple(session.task.description for session in sessions)
    return World(f"{project.name}-{seed}", project.domain, taught, questions)


def make_worlds(seed: int, adapters: int, asked: int) -> list[World]:
    """Projects for so many adapters; the first `asked` of them have questions."""
    projects = count_projects(adapters)
    return [make_world(seed + number, asked=number < asked) for number in range(projects)]


def make_strangers(seed: int, count: int) -> list[World]:
    """Projects that nobody was taught."""
    return [make_world(seed + 1_000_000 + number, asked=True) for number in range(count)]


def count_projects(adapters: int) -> int:
    """How many projects so many adapters belong to: every fourth has three."""
    return max(1, adapters * 4 // 6)


def questions(
    worlds: Sequence[World], strangers: Sequence[World], each: int, *, named: bool
) -> list[Question]:
    """`each` questions of each kind about every project that has some, and about strangers."""
    return [
        Question(kind, text if named else without_name(text), world if known else None)
        for known, of in ((True, worlds), (False, strangers))
        for world in of
        for kind, texts in world.asked.items()
        for text in texts[:each]
    ]


def without_name(text: str) -> str:
    """A task's text without the "In PACKAGE:" that it begins with."""
    return text.split(": ", 1)[1]


def fill(home: Path, worlds: Sequence[World]) -> int:
    """Put the adapters of these projects into a new home; how many there are."""
    config = load_config(home=home)
    database = open_database(config)
    rows = list(_rows(worlds))
    try:
        with database.writing() as session:
            session.execute(insert(AdapterRecord), [record.model_dump() for record, _ in rows])
            session.connection().exec_driver_sql(
                "INSERT INTO adapter_taught (adapter_id, tasks, words) VALUES (?, ?, ?)",
                [(r.id, len(t), json.dumps(count_words(t))) for r, t in rows],
            )
    finally:
        database.close()
    return len(rows)


def _rows(worlds: Sequence[World]) -> Iterator[tuple[AdapterRecord, Sequence[str]]]:
    rng = random.Random(0)
    for number, world in enumerate(worlds):
        yield _record(world, "project", rng), world.taught
        if number % 4 == 0:
            yield _record(world, "domain", rng), world.taught[: SESSIONS * 3 // 4]
            yield _record(world, "task", rng), world.taught[: SESSIONS // 2]


def _record(world: World, level: str, rng: random.Random) -> AdapterRecord:
    adapter_id = f"{level}-{world.id}"
    fitness = rng.uniform(0.4, 1.0)
    return AdapterRecord(
        id=adapter_id,
        version=1,
        task_type="bug-fix" if level == "task" else "feature-impl",
        base_model_id=BASE_MODEL,
        rank=8,
        created_at=utc_now(),
        file_path=f"adapters/{adapter_id}/adapter_model.safetensors",
        file_hash=hashlib.sha256(adapter_id.encode()).hexdigest(),
        file_size_bytes=1_000_000,
        config_hash=hashlib.sha256(b"config").hexdigest(),
        pass_rate=fitness,
        fitness_score=fitness,
        source="distillation",
        session_id="session",
        hierarchy_level=level,
        domain=world.domain,
        project_id=world.id,
    )
