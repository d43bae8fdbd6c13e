"""An arm's weeks: a home with an engine of its own that nobody watches.

A day is: its sessions are recorded, then the schedule runs until nothing is due and no job is
unfinished. What a day was is kept in the arm's folder, and a day that was done is not done again;
one that was interrupted is: sessions that were recorded are recognised, and the engine goes on with
its jobs. Knows nothing of what is asked at the end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.lifecycle.telling import tell
from benchmarks.lifecycle.worlds import Arm, Recorded, World
from rune_engine.config import RuneConfig, load_config
from rune_engine.durable import write_file
from rune_engine.models import TrajectoryDraft
from rune_engine.service.engine import Engine

SCHEDULE: dict[str, Any] = {
    "quiet_seconds": 0.0,
    "fast_quiet_seconds": 0.0,
    "max_load": None,
    "on_battery": True,
    "min_free_memory_bytes": 0,
    "min_trajectories": 8,
    "fast_min_new": 10,
    "min_new": 28,
    "kept_back_share": 0.3,
}
"""No waiting, and few trainings: a project is trained directly once, when 28 of its sessions are
new, and a group of its tasks hardly ever; without training it is updated after every tenth session.
More tasks are kept back than by default: fewer than six, however they end, promote nothing."""
OUT_OF_DOMAIN_TASKS = 10
"""By which an evaluation sees whether an adapter harms other work; fewer than by default."""

_LOOK_SECONDS = 0.25
_CALM_SECONDS = 1.5
"""What follows on a job is queued within milliseconds of its end."""


def arm_config(home: Path, *, schedule: bool) -> RuneConfig:
    """A home's configuration; without `schedule` its engine does what it is asked and no more."""
    home.mkdir(parents=True, exist_ok=True)
    return load_config(
        home=home,
        base_model="rune-nano",
        model_threads=1,
        consolidation=SCHEDULE if schedule else {"enabled": False},
        evaluation={"out_of_domain_tasks": OUT_OF_DOMAIN_TASKS},
    )


@asynccontextmanager
async def running(config: RuneConfig) -> AsyncIterator[Engine]:
    """The engine of a home, until the block ends."""
    engine = Engine.open(config)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


def lay_out(world: World, folder: Path) -> dict[str, str]:
    """Every project as a package in a folder of its own; the folders by the project's name."""
    for project in world.projects:
        project.write(folder / project.name)
    return {project.name: str(folder / project.name) for project in world.projects}


def draft_of(session: Recorded, workspaces: Mapping[str, str]) -> TrajectoryDraft:
    """What is recorded: the project's folder is known, as where an agent works."""
    return session.draft.model_copy(update={"workspace": workspaces[session.project_id]})


async def live(world: World, arm: Arm, folder: Path, workspaces: Mapping[str, str]) -> None:
    """Live through the days that are not done."""
    done = [int(path.stem) for path in (folder / "days").glob("*.json")]
    left = [day for day in range(world.settings.days) if day not in done]
    if not left:
        return
    sessions = world.lived(arm)
    (folder / "days").mkdir(parents=True, exist_ok=True)
    async with running(arm_config(folder / "home", schedule=True)) as engine:
        for day in left:
            today = [each for each in sessions if each.day == day]
            facts = await _day(engine, day, today, workspaces)
            write_file(folder / "days" / f"{day:03}.json", json.dumps(facts))
            tell(arm, f"day {day + 1} of {world.settings.days}: {_line(facts)}")


async def _day(
    engine: Engine, day: int, sessions: Sequence[Recorded], workspaces: Mapping[str, str]
) -> dict[str, Any]:
    began, first = time.monotonic(), newest_event(engine)
    recorded = []
    for session in sessions:
        stored = await asyncio.to_thread(engine.record, draft_of(session, workspaces))
        recorded.append({"trajectory_id": stored.trajectory_id, "nature": session.nature})
    await settle(engine)
    return {
        "day": day,
        "sessions": recorded,
        "first_event": first + 1,
        "last_event": newest_event(engine),
        "seconds": time.monotonic() - began,
    }


async def settle(engine: Engine) -> None:
    """Return once nothing is due and no job is unfinished, and that for a moment.

    Raises:
        RuntimeError: the engine gave up.
    """
    calm = 0.0
    while calm < _CALM_SECONDS:
        if engine.stopping:
            raise RuntimeError("The engine stopped by itself; its log says why.")
        calm = 0.0 if await asyncio.to_thread(_is_busy, engine) else calm + _LOOK_SECONDS
        await asyncio.sleep(_LOOK_SECONDS)


def _is_busy(engine: Engine) -> bool:
    return bool(engine.jobs.unfinished() or engine.consolidator.status(stays=True).due)


def newest_event(engine: Engine) -> int:
    """The number of the last lifecycle event; 0 before the first."""
    newest = engine.events.history(limit=1)
    return newest[0].seq if newest else 0


def _line(facts: dict[str, Any]) -> str:
    natures = Counter(each["nature"] for each in facts["sessions"])
    told = ", ".join(f"{count} {nature}" for nature, count in natures.items()) or "no sessions"
    events = facts["last_event"] - facts["first_event"] + 1
    return f"{told}; {events} events in {facts['seconds']:.0f} s"
