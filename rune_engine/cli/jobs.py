"""`rune jobs`: the jobs of the engine."""

from __future__ import annotations

from typing import Annotated

import typer

from rune_engine.cli.engine import Json
from rune_engine.cli.session import out, print_fields, print_json, print_table, with_engine

app = typer.Typer(help="Look at jobs, cancel and retry them.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id.")]


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20, as_json: Json = False
) -> None:
    """List jobs, newest first."""
    jobs = with_engine(lambda client: client.list_jobs(limit=limit))
    if as_json:
        print_json(*jobs)
        return
    rows = (
        (
            job.id,
            job.kind,
            job.project_id or "",
            job.status,
            f"{job.progress:.0%}",
            f"{job.attempt} of {job.max_attempts}",
            str(job.priority),
            job.created_at[:19],
            job.message,
        )
        for job in jobs
    )
    columns = ("id", "kind", "project", "status", "done", "attempt", "priority", "created")
    print_table((*columns, "message"), rows)


@app.command()
def show(job_id: JobId, as_json: Json = False) -> None:
    """Show one job with its result or error."""
    job = with_engine(lambda client: client.get_job(job_id))
    (print_json if as_json else print_fields)(job)


@app.command()
def cancel(job_id: JobId) -> None:
    """Stop a job; one that has ended stays as it is."""
    job = with_engine(lambda client: client.cancel_job(job_id))
    out.print(f"Job {job.id} is {job.status}.")


@app.command()
def retry(job_id: JobId) -> None:
    """Queue a job that failed or was cancelled anew, and print the new job's id."""
    job = with_engine(lambda client: client.retry_job(job_id))
    out.print(job.id)
