"""`rune import`, and what commands share whose work the engine does as jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from rune_engine.cli.follow import follow
from rune_engine.cli.session import out, print_table, with_engine
from rune_engine.client import EngineClient
from rune_engine.models import ImportParams, ImportResult, Job

Wait = Annotated[bool, typer.Option(help="Wait for the end; Ctrl-C cancels.")]


def import_file(
    file: Annotated[Path, typer.Argument(help="JSON Lines: one trajectory a line.")],
    wait: Wait = True,
) -> None:
    """Record the trajectories of a large file; a bad line costs no other."""
    params = ImportParams(path=str(file.absolute()))
    job = run_job(lambda client: client.import_file(params), wait)
    if job.result is not None:
        result = ImportResult.model_validate(job.result)
        rows = result.model_dump(exclude={"refused_lines"}).items()
        print_table((), ((name, str(value)) for name, value in rows))
        for refused in result.refused_lines:
            out.print(f"line {refused.line}: {refused.reason}", markup=False, highlight=False)


def run_job(submit: Callable[[EngineClient], Awaitable[Job]], wait: bool) -> Job:
    async def run(client: EngineClient) -> Job:
        job = await submit(client)
        return await follow(client, job) if wait else job

    job = with_engine(run)
    if not wait:
        out.print(job.id)
    return job
