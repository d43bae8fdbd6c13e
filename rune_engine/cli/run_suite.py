"""`rune run`: a suite of real tasks goes through the agent loop, over the MCP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rune_engine.cli.mcp_session import McpSession, mcp_session
from rune_engine.config import load_config
from rune_engine.errors import RuneError
from rune_engine.evaluation.suites import SuiteTask, load_suite


@dataclass(frozen=True, slots=True)
class Ending:
    """How one task ended; `error` is set when no verdict was reached."""

    task_id: str
    passed: bool | None
    attempts: int
    trajectory_id: str | None
    error: str | None = None


def write_script(tasks: Sequence[SuiteTask], file: Path) -> str:
    """Write the reference solutions as a `ScriptedProvider`'s script; returns the base model."""
    rules = [
        {
            "contains": task.task_description,
            "answers": [f"```python\n{task.reference_solution}\n```"],
        }
        for task in tasks
    ]
    file.write_text(json.dumps(rules), encoding="utf-8")
    return f"scripted:{file}"


async def _run_one(session: McpSession, task: SuiteTask, options: dict[str, Any]) -> Ending:
    try:
        result = await session.job(
            "run_task",
            task_description=task.task_description,
            test_suite=task.test_suite,
            held_out=True,
            **options,
        )
    except RuneError as error:
        return Ending(task.task_id, None, 0, None, str(error))
    attempts = result["attempts"]
    verdict = attempts[-1]["tests_passed"]
    return Ending(task.task_id, verdict, len(attempts), result["trajectory_id"])


async def run_tasks(
    home: Path, tasks: Sequence[SuiteTask], options: dict[str, Any], progress: Progress
) -> list[Ending]:
    """Run every task, four at a time, and return how they ended, in order."""
    slots = asyncio.Semaphore(4)
    bar = progress.add_task("running", total=len(tasks))

    async def one(session: McpSession, task: SuiteTask) -> Ending:
        async with slots:
            ending = await _run_one(session, task, options)
        progress.advance(bar)
        return ending

    async with mcp_session(home) as session:
        return await asyncio.gather(*(one(session, task) for task in tasks))


def _print(console: Console, endings: Sequence[Ending], base_model: str) -> None:
    table = Table("task", "verdict", "attempts", "trajectory")
    words = {True: "passed", False: "failed", None: "no verdict"}
    for ending in endings:
        table.add_row(
            ending.task_id,
            words[ending.passed],
            str(ending.attempts),
            ending.trajectory_id or ending.error,
        )
    console.print(table)
    passed = sum(ending.passed is True for ending in endings)
    judged = sum(ending.passed is not None for ending in endings)
    console.print(f"{passed} of {judged} tasks passed; {len(endings) - judged} without a verdict.")
    if base_model == "rune-nano" and passed < judged:
        console.print(
            "rune-nano is a 3-million-parameter model for trying Rune: failing real tasks is what "
            "it does. Set base_model to a real code model to solve them."
        )


def run(
    suite: Annotated[Path, typer.Option(help="HumanEval-format .jsonl or .jsonl.gz.")],
    limit: Annotated[int | None, typer.Option(min=1)] = None,
    base_model: Annotated[str | None, typer.Option(help="As in the configuration.")] = None,
    scripted_reference: Annotated[
        bool,
        typer.Option(help="Let a ScriptedProvider answer with the suite's reference solutions."),
    ] = False,
    adapter: Annotated[str, typer.Option(help='"auto", "none" or an adapter id.')] = "auto",
    max_attempts: Annotated[int, typer.Option(min=1, max=10)] = 3,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Run a suite of tasks through the agent loop; every trajectory is stored."""
    config = load_config()
    tasks = load_suite(suite, limit)
    config.home.mkdir(parents=True, exist_ok=True)
    model = base_model or config.base_model
    if scripted_reference:
        model = write_script(tasks, config.home / f"reference-{suite.name}.json")
    options = {
        "project_id": suite.name.split(".")[0],
        "base_model": model,
        "adapter": adapter,
        "max_attempts": max_attempts,
        "max_tokens": 256,
    }
    console = Console()
    with Progress(console=console) as progress:
        endings = asyncio.run(run_tasks(config.home, tasks, options, progress))
    _print(console, endings, model)
    if json_file is not None:
        rows = [
            {"task_id": e.task_id, "passed": e.passed, "trajectory_id": e.trajectory_id}
            for e in endings
        ]
        json_file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
