"""`rune demo`: projects that no model has seen are taught once, and remembered in weights.

Everything goes through a real MCP server over stdio, in a home of its own: the tasks that were
kept back are tried by the base model alone, a dozen sessions are recorded and distilled into an
adapter for each project, and the same tasks are tried again. Nothing of a former run is used.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from project_worlds import (
    HeldOut,
    Project,
    Session,
    Task,
    make_held_out,
    make_plain_task,
    make_project,
    make_sessions,
)
from rune_engine.cli.mcp_session import McpSession, mcp_session
from rune_engine.config import load_config
from rune_engine.models import Attempt, DistillMethod
from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.verdict import tests_passed

AT_ONCE = 8
"""Tasks in flight together; the model worker answers them in one batch."""


@dataclass(frozen=True, slots=True)
class World:
    """One project of the demo, with what is recorded of it and what is kept back."""

    project: Project
    sessions: Sequence[Session]
    held_out: HeldOut


@dataclass(slots=True)
class Passes:
    """Which of the tasks passed, by kind."""

    new_combinations: list[bool] = field(default_factory=list)
    new_wordings: list[bool] = field(default_factory=list)

    def pass_at_1(self) -> dict[str, float]:
        both = self.new_combinations + self.new_wordings
        return {
            "all": _share(both),
            "new_combinations": _share(self.new_combinations),
            "new_wordings": _share(self.new_wordings),
        }


def _share(passed: Sequence[bool]) -> float:
    return sum(passed) / len(passed) if passed else 0.0


def make_worlds(seed: int, projects: int, sessions: int, tasks_of_each_kind: int) -> list[World]:
    """The demo's projects; their seeds follow from `seed` and are used for nothing else."""
    worlds = []
    for index in range(projects):
        project = make_project(10_000 * (seed + 1) + index, "evaluation")
        recorded = make_sessions(project, sessions)
        worlds.append(
            World(project, recorded, make_held_out(project, recorded, tasks_of_each_kind))
        )
    return worlds


class Demo:
    """The demo's steps over one MCP session; each returns its figures."""

    def __init__(self, session: McpSession, workspace: Path, progress: Progress) -> None:
        self._session = session
        self._workspace = workspace
        self._progress = progress
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def _solve(self, task: Task, adapter: str, bar: Any) -> bool:
        async with self._slots:
            result = await self._session.job(
                "run_task",
                task_description=task.description,
                test_suite=task.tests,
                project_id=task.project or "plain",
                adapter=adapter,
                max_attempts=1,
                max_tokens=160,
                held_out=True,
                workspace=str(self._workspace),
            )
        self._progress.advance(bar)
        return bool(result["tests_passed"])

    async def _solve_all(self, title: str, tasks: Sequence[tuple[Task, str]]) -> list[bool]:
        bar = self._progress.add_task(title, total=len(tasks))
        return await asyncio.gather(*(self._solve(task, adapter, bar) for task, adapter in tasks))

    async def held_out(self, title: str, worlds: Sequence[World], adapter: str) -> Passes:
        """Pass@1 on the tasks that were kept back: one greedy attempt each."""
        combinations = [task for world in worlds for task in world.held_out.new_combinations]
        wordings = [task for world in worlds for task in world.held_out.new_wordings]
        passed = await self._solve_all(title, [(task, adapter) for task in combinations + wordings])
        return Passes(passed[: len(combinations)], passed[len(combinations) :])

    async def plain(self, title: str, tasks: Sequence[Task], adapters: Sequence[str]) -> float:
        """Pass@1 on tasks that need no project knowledge, each with each of the adapters."""
        pairs = [(task, adapter) for adapter in adapters for task in tasks]
        return _share(await self._solve_all(title, pairs))

    async def record(self, worlds: Sequence[World]) -> None:
        """Record every session, with what its attempts really printed."""
        sandbox = Sandbox(load_config().sandbox)
        total = sum(len(world.sessions) for world in worlds)
        bar = self._progress.add_task("recording sessions", total=total)
        for world in worlds:
            for session in world.sessions:
                attempts = [
                    await self._attempt(sandbox, code, session.task) for code in session.attempts
                ]
                await self._session.call(
                    "record_trajectory",
                    project_id=world.project.name,
                    task_description=session.task.description,
                    test_suite=session.task.tests,
                    attempts=[attempt.model_dump(exclude={"verdict"}) for attempt in attempts],
                    outcome="success" if attempts[-1].tests_passed else "exhausted",
                    agent_id="demo",
                )
                self._progress.advance(bar)

    async def _attempt(self, sandbox: Sandbox, code: str, task: Task) -> Attempt:
        verdict = await sandbox.run(code, task.tests, workspace=self._workspace)
        evidence = verdict.evidence
        return Attempt(
            generated_code=code,
            stdout=evidence.stdout if evidence else "",
            stderr=evidence.stderr if evidence else "",
            exit_code=evidence.exit_code if evidence else None,
            tests_passed=tests_passed(verdict),
        )

    async def distill(self, worlds: Sequence[World], method: str) -> list[dict[str, Any]]:
        """One adapter for each project; returns the distillations' results."""
        results = []
        for world in worlds:
            bar = self._progress.add_task(f"distilling {world.project.name}", total=100)

            def show(fraction: float, _message: str, bar: Any = bar) -> None:
                self._progress.update(bar, completed=100 * fraction)

            asked = {"project_id": world.project.name, "method": method}
            results.append(await self._session.job("distill", show, **asked))
            self._progress.update(bar, completed=100)
        return results


async def run_demo(
    home: Path, seed: int, worlds: Sequence[World], method: str, progress: Progress
) -> dict[str, Any]:
    """Run the whole demo in `home` and return its figures, JSON-ready."""
    rng = random.Random(f"demo-plain-{seed}")
    plain_tasks = [make_plain_task(rng) for _ in range(24)]
    workspace = home / "projects"
    for world in worlds:
        world.project.write(workspace)
    async with mcp_session(home, idle_seconds="20") as session:
        demo = Demo(session, workspace, progress)
        base = await demo.held_out("base model alone, held-out tasks", worlds, "none")
        plain_base = await demo.plain("base model alone, plain tasks", plain_tasks, ["none"])
        await demo.record(worlds)
        distilled = await demo.distill(worlds, method)
        adapters = [result["adapter_id"] for result in distilled]
        memory = await demo.held_out("with memory, held-out tasks", worlds, "auto")
        plain_memory = await demo.plain("with memory, plain tasks", plain_tasks, adapters)
    return {
        "seed": seed,
        "tasks": len(base.new_combinations) + len(base.new_wordings),
        "projects": [world.project.name for world in worlds],
        "sessions": sum(len(world.sessions) for world in worlds),
        "method": distilled[0]["method"],
        "base_pass_at_1": base.pass_at_1(),
        "memory_pass_at_1": memory.pass_at_1(),
        "plain_tasks": len(plain_tasks),
        "plain_pass_at_1": {"base": plain_base, "memory": plain_memory},
        "distill_seconds": [round(result["seconds"], 2) for result in distilled],
        "distill_peak_memory_bytes": [result["peak_memory_bytes"] for result in distilled],
        "adapters": adapters,
        "home": str(home),
    }


def _table(figures: dict[str, Any]) -> Table:
    table = Table(title="Pass@1 on tasks that were kept back (one greedy attempt each)")
    table.add_column("tasks")
    table.add_column("base model", justify="right")
    table.add_column("with memory", justify="right")
    base, memory = figures["base_pass_at_1"], figures["memory_pass_at_1"]
    rows = {
        "new_combinations": "known operations, combined anew",
        "new_wordings": "known operations, in other words",
        "all": "both",
    }
    for key, title in rows.items():
        table.add_row(title, f"{base[key]:.0%}", f"{memory[key]:.0%}")
    plain = figures["plain_pass_at_1"]
    table.add_row("no project knowledge needed", f"{plain['base']:.0%}", f"{plain['memory']:.0%}")
    return table


def _print(console: Console, figures: dict[str, Any], seconds: float) -> None:
    console.print(_table(figures))
    console.print(
        f"{len(figures['adapters'])} projects ({', '.join(figures['projects'])}), "
        f"{figures['sessions']} sessions, {figures['tasks']} held-out tasks; a distillation "
        f"({figures['method']}) took {max(figures['distill_seconds']):.1f} s at most; "
        f"{seconds:.0f} s in all."
    )
    home = Path(figures["home"])
    console.print("Stored for you to look at:")
    for adapter in figures["adapters"]:
        console.print(f"  {home / 'adapters' / adapter}", soft_wrap=True)
    console.print(f"  {home / 'rune.db'}  (trajectories, adapters, jobs)", soft_wrap=True)
    console.print(f"  {home / 'projects'}  (the generated projects)", soft_wrap=True)


def demo(
    seed: Annotated[int, typer.Option(min=0, help="Which projects to make.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here, too.")
    ] = None,
    projects: Annotated[int, typer.Option(min=1, max=20)] = 3,
    sessions: Annotated[int, typer.Option(min=6, max=100, help="Recorded for each project.")] = 12,
    tasks: Annotated[int, typer.Option(min=1, max=50, help="Of each kind and project.")] = 8,
    method: Annotated[
        DistillMethod, typer.Option(help="How the adapters are made; auto takes the fastest.")
    ] = "auto",
    home: Annotated[
        Path | None, typer.Option(help="An empty folder for this run; a new one by default.")
    ] = None,
) -> None:
    """Teach projects that no model has seen, and measure what is remembered."""
    console = Console()
    folder = home or load_config().home / "demo" / f"seed-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists():
        shutil.rmtree(folder) if not any(folder.iterdir()) else _refuse(folder)
    folder.mkdir(parents=True)
    began = time.monotonic()
    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        worlds = make_worlds(seed, projects, sessions, tasks)
        figures = asyncio.run(run_demo(folder, seed, worlds, method, progress))
    _print(console, figures, time.monotonic() - began)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _refuse(folder: Path) -> None:
    raise typer.BadParameter(f"{folder} is not empty; the demo starts from nothing.")
