"""`rune capture`: agents' own session files, read once or followed, as far as the user allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rune_engine.capture.importers import sessions_below
from rune_engine.cli.engine import Json
from rune_engine.cli.session import (
    err,
    out,
    print_fields,
    print_json,
    print_table,
    project_id,
    with_engine,
)
from rune_engine.client import EngineClient
from rune_engine.errors import InvalidInputError, RuneError
from rune_engine.models import CaptureParams, CaptureReport, CaptureStatus

app = typer.Typer(help="Agents' own session files.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(help="An agent, as `rune capture status` lists it.")]


@app.command("import")
def import_sessions(
    path: Annotated[Path, typer.Argument(help="A session file, or a folder with such files.")],
    agent: Annotated[str | None, typer.Option(help="Whose it is; found out if left out.")] = None,
    project: Annotated[
        str | None, typer.Option(help="A project's id or folder, instead of where it was recorded.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Read sessions once. Nothing is ever written to where they are.

    Exit code 1 when a file could not be read; it costs no other.
    """
    chosen = project_id(project) if project else None
    given = [
        CaptureParams(path=str(unit), agent=found, project_id=chosen, dry_run=dry_run)
        for unit, found in _units(path.expanduser().absolute(), agent)
    ]
    reports, failures = with_engine(lambda client: _import(client, given))
    if as_json:
        print_json(*reports)
    else:
        _print_reports(reports)
    for failure in failures:
        err.print(Text(str(failure), style="red"), soft_wrap=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def status(as_json: Json = False) -> None:
    """Which agents' sessions may be read, how many wait, and what was captured last."""
    _print_status(with_engine(lambda client: client.capture_status()), as_json)


@app.command()
def origin(
    trajectory: Annotated[str, typer.Argument(help="A trajectory's id.")], as_json: Json = False
) -> None:
    """Show where a trajectory came from: whose session, which file, who worked."""
    found = with_engine(lambda client: client.provenance(trajectory))
    (print_json if as_json else print_fields)(found)


@app.command()
def allow(source: Source, as_json: Json = False) -> None:
    """Let an agent's sessions be read: those that are there, and those to come."""
    found = with_engine(lambda client: client.capture_allow(source, allowed=True))
    _print_status(found, as_json)


@app.command()
def forbid(source: Source, as_json: Json = False) -> None:
    """Have an agent's sessions left alone. What was captured stays until it is forgotten."""
    found = with_engine(lambda client: client.capture_allow(source, allowed=False))
    _print_status(found, as_json)


def _units(path: Path, agent: str | None) -> Iterator[tuple[Path, str | None]]:
    """The sessions' files at or below a path, and whose each is."""
    if not path.exists():
        raise InvalidInputError(
            f"There is no {path}.", next_step="Give a session file, or a folder with such files."
        )
    if not path.is_dir():
        yield path, agent
        return
    for unit, importer in sessions_below(path, agent):
        yield unit, importer.agent


async def _import(
    client: EngineClient, given: list[CaptureParams]
) -> tuple[list[CaptureReport], list[RuneError]]:
    reports: list[CaptureReport] = []
    failures: list[RuneError] = []
    for params in given:
        try:
            reports.append(await client.capture_import(params))
        except InvalidInputError as error:
            failures.append(error)
    return reports, failures


def _print_reports(reports: list[CaptureReport]) -> None:
    rows = [
        (task.status, task.outcome, str(task.attempts), task.project_id, task.description)
        for report in reports
        for task in report.tasks
    ]
    if rows:
        print_table(("", "outcome", "attempts", "project", "task"), rows)
    counts = Counter(status for status, *_ in rows)
    said = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    out.print(f"{len(reports)} files: {said or 'no task in them'}", highlight=False)
    for title in ("understood", "skipped"):
        total: Counter[str] = Counter()
        for report in reports:
            total.update(getattr(report, title))
        if total:
            shown = ", ".join(f"{kind} {number}" for kind, number in total.most_common())
            out.print(f"{title}: {shown}", markup=False, highlight=False, soft_wrap=True)


def _print_status(found: CaptureStatus, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [
        (one.source, _STATES[one.state], str(one.waiting), str(one.sessions), str(one.trajectories))
        for one in found.sources
    ]
    print_table(("source", "", "waiting", "sessions", "trajectories"), rows)
    for one in found.newest:
        line = f"{one.captured_at[:19]}  {one.source}  {one.session_id}  {one.path}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)


_STATES = {
    "allowed": "allowed",
    "forbidden": "forbidden",
    "undecided": "in quarantine until you allow it",
}
