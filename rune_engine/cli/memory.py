"""`rune status`, `rune record`, `rune distill` and `rune adapters`: the memory itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from rune_engine.cli.engine import Json
from rune_engine.cli.evolve import archive, restore
from rune_engine.cli.export import export
from rune_engine.cli.follow import follow
from rune_engine.cli.session import (
    out,
    print_fields,
    print_json,
    print_table,
    project_id,
    with_engine,
)
from rune_engine.client import EngineClient
from rune_engine.errors import InvalidInputError
from rune_engine.models import (
    DistillParams,
    Job,
    RecordedTrajectory,
    RouteCandidate,
    TrajectoryDraft,
)

adapters = typer.Typer(help="Look at the stored adapters.", no_args_is_help=True)

Project = Annotated[
    str | None,
    typer.Argument(help="The project's id or a folder of it; the current folder's when left out."),
]

_DRAFTS: TypeAdapter[TrajectoryDraft | list[TrajectoryDraft]] = TypeAdapter(
    TrajectoryDraft | list[TrajectoryDraft]
)


def status(as_json: Json = False) -> None:
    """Show what Rune holds and what it is doing."""
    found = with_engine(lambda client: client.status())
    if as_json:
        print_json(found)
        return
    projects = {"projects"}
    print_table((), ((k, str(v)) for k, v in found.model_dump(exclude=projects).items()))
    for project in found.projects:
        out.print()
        print_fields(project)


def record(
    file: Annotated[Path, typer.Argument(help="JSON: one trajectory, or a list of them.")],
) -> None:
    """Record trajectories from a file."""
    drafts = _read_drafts(file)

    async def record_all(client: EngineClient) -> list[RecordedTrajectory]:
        return [await client.record(draft) for draft in drafts]

    for answer in with_engine(record_all):
        known = " (was there already)" if answer.duplicate else ""
        out.print(f"{answer.trajectory_id}{known}")


def distill(
    project: Project = None,
    domain: Annotated[str | None, typer.Option(help="Only this domain.")] = None,
    task_type: Annotated[str | None, typer.Option(help="Only this task type.")] = None,
    base_model: Annotated[str | None, typer.Option(help="Instead of the configured one.")] = None,
    rank: Annotated[int | None, typer.Option(help="The adapter's rank.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    method: Annotated[
        str,
        typer.Option(help="auto, direct, lora, qlora, qdora, closed_form or hypernetwork."),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    wait: Annotated[bool, typer.Option(help="Wait for the end; Ctrl-C cancels.")] = True,
) -> None:
    """Distill a project's successful trajectories into one adapter."""
    given = locals()
    given.pop("wait")
    params = _checked_params(project_id=project_id(given.pop("project")), **given)

    async def submit(client: EngineClient) -> Job:
        job = await client.distill(params)
        return await follow(client, job) if wait else job

    job = with_engine(submit)
    if not wait:
        out.print(job.id)
    elif job.result is not None:
        print_table((), ((name, str(value)) for name, value in job.result.items()))


@adapters.command("list")
def list_adapters(
    project: Annotated[str | None, typer.Option(help="Only this project: id or folder.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only this domain.")] = None,
    task_type: Annotated[str | None, typer.Option(help="Only this task type.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: Json = False,
) -> None:
    """List adapters, newest first."""
    page = with_engine(
        lambda client: client.list_adapters(
            offset=offset,
            limit=limit,
            project_id=project and project_id(project),
            domain=domain,
            task_type=task_type,
            include_archived=archived,
        )
    )
    if as_json:
        print_json(page)
        return
    columns = ("id", "project", "level", "version", "base model", "created")
    rows = (
        (a.id, a.project_id, a.hierarchy_level, str(a.version), a.base_model_id, a.created_at[:19])
        for a in page.adapters
    )
    print_table(columns, rows)
    out.print(f"{len(page.adapters)} of {page.total}")


@adapters.command("show")
def show_adapter(
    adapter_id: Annotated[str, typer.Argument(help="The adapter's id.")], as_json: Json = False
) -> None:
    """Show everything that is known of one adapter."""
    adapter = with_engine(lambda client: client.get_adapter(adapter_id))
    (print_json if as_json else print_fields)(adapter)


@adapters.command("route")
def route(
    project: Annotated[
        str | None, typer.Option(help="Its id or folder; left out, the task's text decides.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="What is to be done, in words.")] = None,
    domain: Annotated[str, typer.Option(help="The task's domain.")] = "general",
    task_type: Annotated[str, typer.Option(help="Its kind.")] = "feature-impl",
    base_model: Annotated[str | None, typer.Option(help="Instead of the configured one.")] = None,
    as_json: Json = False,
) -> None:
    """Show which adapter a task would get, what else was weighed, and why."""
    found = with_engine(
        lambda client: client.retrieve(
            project and project_id(project),
            domain=domain,
            task_type=task_type,
            base_model=base_model,
            task_description=task,
        )
    )
    if as_json:
        print_json(found)
        return
    out.print(found.reason)
    columns = ("adapter", "project", "level", "fitness", "nearness", "why")
    print_table(columns, (_candidate(each) for each in found.candidates))


def _candidate(weighed: RouteCandidate) -> tuple[str, ...]:
    numbers = ("-" if n is None else f"{n:.3f}" for n in (weighed.fitness, weighed.nearness))
    who = (weighed.adapter_id or "none", weighed.project_id or "-", weighed.level or "-")
    return (*who, *numbers, weighed.why)


adapters.command("export")(export)
adapters.command("archive")(archive)
adapters.command("restore")(restore)


def _read_drafts(file: Path) -> list[TrajectoryDraft]:
    try:
        found = _DRAFTS.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise InvalidInputError(
            f"{file} holds no trajectories: {_first_problem(error)}",
            next_step="Write a trajectory, or a list of them, as JSON; see `rune record --help`.",
        ) from error
    return found if isinstance(found, list) else [found]


def _checked_params(**given: object) -> DistillParams:
    try:
        return DistillParams.model_validate(given)
    except ValidationError as error:
        raise InvalidInputError(_first_problem(error)) from error


def _first_problem(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
