"""`rune evaluate` and `rune import`: long work that the engine does as jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from rune_engine.cli.follow import follow
from rune_engine.cli.session import out, print_table, with_engine
from rune_engine.client import EngineClient
from rune_engine.models import EvaluateParams, EvaluateResult, ImportParams, ImportResult, Job

Wait = Annotated[bool, typer.Option(help="Wait for the end; Ctrl-C cancels.")]


def evaluate(
    adapter_id: Annotated[str, typer.Argument(help="The adapter's id.")],
    max_tasks: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    base_model: Annotated[str | None, typer.Option(help="Instead of the configured one.")] = None,
    wait: Wait = True,
) -> None:
    """Judge an adapter by tasks that it was not trained on, against the base model alone."""
    params = EvaluateParams(adapter_id=adapter_id, max_tasks=max_tasks, base_model=base_model)
    job = _run(lambda client: client.evaluate(params), wait)
    if job.result is not None:
        result = EvaluateResult.model_validate(job.result)
        rows = result.model_dump(exclude={"per_task", "settings"}).items()
        print_table((), ((name, str(value)) for name, value in rows))
        print_table(
            ("task", "group", "with adapter", "base alone"),
            (
                (
                    task.trajectory_id or task.task[:12],
                    task.group,
                    _words(task.with_adapter),
                    _words(task.with_base),
                )
                for task in result.per_task
            ),
        )


def import_file(
    file: Annotated[Path, typer.Argument(help="JSON Lines: one trajectory a line.")],
    wait: Wait = True,
) -> None:
    """Record the trajectories of a large file; a bad line costs no other."""
    params = ImportParams(path=str(file.absolute()))
    job = _run(lambda client: client.import_file(params), wait)
    if job.result is not None:
        result = ImportResult.model_validate(job.result)
        rows = result.model_dump(exclude={"refused_lines"}).items()
        print_table((), ((name, str(value)) for name, value in rows))
        for refused in result.refused_lines:
            out.print(f"line {refused.line}: {refused.reason}", markup=False, highlight=False)


def _run(submit: Callable[[EngineClient], Awaitable[Job]], wait: bool) -> Job:
    async def run(client: EngineClient) -> Job:
        job = await submit(client)
        return await follow(client, job) if wait else job

    job = with_engine(run)
    if not wait:
        out.print(job.id)
    return job


def _words(verdicts: Sequence[bool | None]) -> str:
    words = {True: "passed", False: "failed", None: "no verdict"}
    if len(verdicts) == 1:
        return words[verdicts[0]]
    counts = ((verdicts.count(verdict), word) for verdict, word in words.items())
    return ", ".join(f"{count} {word}" for count, word in counts if count)
