"""`python -m benchmarks.lifecycle --work FOLDER`: both arms, every policy, the figures."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.lifecycle.asking import Answers
from benchmarks.lifecycle.figures import Figures, figures_of
from benchmarks.lifecycle.living import SCHEDULE, lay_out, live
from benchmarks.lifecycle.policies import RUNE, ask_fixed, ask_rune
from benchmarks.lifecycle.reading import read
from benchmarks.lifecycle.report import assessment
from benchmarks.lifecycle.telling import tell
from benchmarks.lifecycle.worlds import ARMS, Arm, Settings, World, make_world
from rune_engine.durable import write_file
from rune_engine.errors import InvalidInputError

QUICK = {"projects": 2, "days": 3, "sessions": 16, "tasks": 4}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and tell the figures; 1 where a promise does not hold."""
    given = _parse(arguments)
    settings = Settings(seed=given.seed, **(QUICK if given.quick else {}))
    if given.work is None:
        with tempfile.TemporaryDirectory(prefix="rune-lifecycle-") as folder:
            figures = run(settings, Path(folder), given)
    else:
        figures = run(settings, given.work.absolute(), given)
    print(assessment(figures))
    if given.json:
        write_file(given.json.absolute(), json.dumps(figures, indent=1) + "\n", 0o644)
    if given.assessment:
        write_file(given.assessment.absolute(), assessment(figures), 0o644)
    return int(any(promise["holds"] is False for promise in figures["promises"]))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lifecycle", description=__doc__)
    parser.add_argument("--work", type=Path, help="a folder to go on in; else nothing is kept")
    parser.add_argument("--seed", type=int, default=1, help="of the worlds")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--quick", action="store_true", help="2 projects, 3 days, no training")
    parser.add_argument("--no-direct", action="store_true", help="without direct trainings")
    parser.add_argument("--json", type=Path, help="keep the figures")
    parser.add_argument("--assessment", type=Path, help="keep the written assessment")
    return parser.parse_args(arguments)


def run(settings: Settings, work: Path, given: argparse.Namespace) -> Figures:
    """The figures of a run in `work`; what is there already is not done again.

    Raises:
        InvalidInputError: `work` holds a run of other settings.
    """
    told = asdict(settings)
    _claim(work, told)
    world = make_world(settings)
    workspaces = lay_out(world, work / "workspaces")
    direct = not (given.no_direct or given.quick)
    asyncio.run(_both(world, given.arms, work, workspaces, direct=direct))
    return _figures(world, given.arms, work) | {
        "settings": told | {"schedule": SCHEDULE, "direct": direct, "quick": given.quick},
        "projects": [{"name": p.name, "domain": p.domain} for p in world.projects],
    }


def _claim(work: Path, told: dict[str, Any]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    file = work / "settings.json"
    if not file.exists():
        write_file(file, json.dumps(told))
    elif json.loads(file.read_text(encoding="utf-8")) != told:
        raise InvalidInputError(
            f"{work} holds a run of other settings.", next_step="Name another folder for this one."
        )


async def _both(
    world: World, arms: Sequence[Arm], work: Path, workspaces: dict[str, str], *, direct: bool
) -> None:
    async with asyncio.TaskGroup() as group:
        for arm in arms:
            group.create_task(_arm(world, arm, work / arm, workspaces, direct=direct))


async def _arm(
    world: World, arm: Arm, folder: Path, workspaces: dict[str, str], *, direct: bool
) -> None:
    await live(world, arm, folder, workspaces)
    await ask_rune(world, arm, folder, workspaces)
    await ask_fixed(world, arm, folder, workspaces, direct=direct)
    tell(arm, "done")


def _figures(world: World, arms: Sequence[Arm], work: Path) -> Figures:
    outcomes: dict[Arm, dict[str, dict[str, bool | None]]] = {}
    answered_by: dict[Arm, dict[str, str | None]] = {}
    for arm in arms:
        outcomes[arm] = {}
        for name in ("rune", "fixed"):
            answers = Answers(work / arm / f"answers-{name}.jsonl")
            for policy in answers.policies:
                found = answers.of(policy)
                outcomes[arm][policy] = {task: one["passed"] for task, one in found.items()}
                if policy == RUNE:
                    answered_by[arm] = {task: one["adapter_id"] for task, one in found.items()}
            answers.close()
    return figures_of(world, outcomes, {arm: read(work / arm) for arm in arms}, answered_by)


if __name__ == "__main__":
    raise SystemExit(main())
