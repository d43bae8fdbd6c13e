"""`rune mine`: a git history becomes trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from rune_engine import projects
from rune_engine.cli.engine import Json
from rune_engine.cli.session import out, print_json, print_table
from rune_engine.cli.work import Wait, run_job
from rune_engine.errors import InvalidInputError
from rune_engine.models.mining import MinedUnit, MineParams, MineResult

_SHOWN = 40


def mine(
    repository: Annotated[Path, typer.Argument(help="A folder of a git repository.")],
    project: Annotated[
        str | None, typer.Option(help="A project's id or folder, instead of the repository's own.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Commits from this day on: 2025-01-31.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=20_000, help="Commits to look at.")] = 500,
    branch: Annotated[str | None, typer.Option(help="Instead of what is checked out.")] = None,
    paths: Annotated[
        list[str] | None, typer.Option(help="Only files that match: 'shop/*.py'. Repeatable.")
    ] = None,
    issues: Annotated[
        Path | None,
        typer.Option(help="JSON of `gh issue list --state all --json number,title,body`."),
    ] = None,
    domain: Annotated[str, typer.Option(help="The domain of what is mined.")] = "general",
    held_out_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the newest commits to keep back.")
    ] = 0.0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Learn from commits that no test speaks for, too.")
    ] = False,
    tests: Annotated[bool, typer.Option(help="Run the repository's tests in the sandbox.")] = True,
    max_seconds: Annotated[float, typer.Option(min=1, help="Stop after this long.")] = 1800.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be mined.")
    ] = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Make trajectories of a repository's commits: what was asked for, before and after.

    A commit counts as a success only where tests fail without it and pass with it, in the sandbox.
    Without such tests its outcome is unknown, and nothing is learned from it unless `--trust` says
    so. Nothing is written to the repository, and who made a commit is not recorded.
    """
    params = _params(
        repository=str(repository.absolute()),
        project_id=_project(project, repository),
        since=since,
        limit=limit,
        branch=branch,
        paths=paths or [],
        issues=str(issues.absolute()) if issues else None,
        domain=domain,
        held_out_share=held_out_share,
        trust=trust,
        run_tests=tests,
        max_seconds=max_seconds,
        dry_run=dry_run,
    )
    job = run_job(lambda client: client.mine(params), wait)
    if job.result is None:
        return
    result = MineResult.model_validate(job.result)
    if as_json:
        print_json(result)
    else:
        _show(result)


def _show(result: MineResult) -> None:
    rows = ((_commit(unit), unit.path, unit.unit, _how(unit), unit.task.split("\n")[0][:60])
            for unit in result.mined[:_SHOWN])  # fmt: skip
    print_table(("commit", "file", "unit", "", "task"), rows)
    if len(result.mined) > _SHOWN:
        out.print(f"... and {result.units - _SHOWN} more; --json shows up to {len(result.mined)}")
    listed = {"mined", "notes", "skipped_commits", "skipped_files", "skipped_units"}
    out.print()
    print_table((), ((name, str(v)) for name, v in result.model_dump(exclude=listed).items()))
    for name in ("commits", "files", "units"):
        left = getattr(result, f"skipped_{name}")
        if left:
            out.print(f"\n{name} left out", style="bold")
            print_table((), ((str(count), reason) for reason, count in left.items()))
    for note in result.notes:
        out.print(f"\n{note}", markup=False, highlight=False)


def _commit(unit: MinedUnit) -> str:
    return unit.commit_id[:10]


def _how(unit: MinedUnit) -> str:
    words: list[str] = [unit.evidence or ("has tests" if unit.has_tests else "")]
    words += ["held out"] if unit.held_out else []
    words += ["known"] if unit.duplicate else []
    return ", ".join(filter(None, words))


def _project(given: str | None, repository: Path) -> str:
    return projects.resolve(given) if given else projects.identify(repository).id


def _params(**given: Any) -> MineParams:
    try:
        return MineParams.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"{where}: {first['msg']}") from error
