"""`rune forget`: erase a project or a session, and retire every adapter that learnt from it."""

from __future__ import annotations

from typing import Annotated

import typer

from rune_engine.cli.engine import Json
from rune_engine.cli.session import out, print_json, print_table, with_engine
from rune_engine.client import EngineClient
from rune_engine.errors import InvalidInputError, NotFoundError
from rune_engine.models import ForgetParams, ForgetReport

Kind = Annotated[bool | None, typer.Option("--project/--session", help="What TARGET names.")]


def forget(
    target: Annotated[str, typer.Argument(help="A project's or a session's id.")],
    is_project: Kind = None,
    rebuild: Annotated[
        bool, typer.Option(help="Distill the retired adapters anew from what else they learnt.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only show what depends on it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a project's or a session's trajectories, and never serve what learnt from them.

    There is no way back but a backup. Ends with a search of the whole home for the erased text;
    exit code 1 when some of it was found.
    """
    params, plan = with_engine(lambda client: _plan(client, target, is_project, rebuild))
    if dry_run or not (yes or as_json):
        _show(plan, as_json)
    if dry_run:
        return
    if not (yes or as_json):
        typer.confirm("Erase it for good?", abort=True)
    report = with_engine(lambda client: client.forget(params))
    _show(report, as_json)
    if report.proof is None or report.proof.found_in:
        raise typer.Exit(1)


async def _plan(
    client: EngineClient, target: str, is_project: bool | None, rebuild: bool
) -> tuple[ForgetParams, ForgetReport]:
    kinds = {None: ("project", "session"), True: ("project",), False: ("session",)}[is_project]
    found = []
    for kind in kinds:
        params = ForgetParams.model_validate({f"{kind}_id": target, "rebuild": rebuild})
        try:
            found.append((params, await client.look_at_forgetting(params)))
        except NotFoundError as error:
            problem = error
    if not found:
        raise problem
    if len(found) > 1:
        raise InvalidInputError(
            f"There is both a project and a session {target}.",
            next_step="Say which with --project or --session.",
        )
    return found[0]


def _show(report: ForgetReport, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    done = "Erased" if report.done else "To erase"
    out.print(
        f"{done} of {report.scope} {report.subject}: {len(report.trajectory_ids)} trajectories, "
        f"{report.sessions} sessions, {report.jobs} jobs.",
        highlight=False,
    )
    if report.adapters:
        rows = ((a.adapter_id, a.project_id, a.because, a.rebuild or "") for a in report.adapters)
        print_table(("adapter", "project", "because", "rebuilt by"), rows)
    if report.proof is not None:
        _show_proof(report)


def _show_proof(report: ForgetReport) -> None:
    assert report.proof is not None
    proof = report.proof
    out.print(
        f"Searched {proof.files_searched} files ({proof.bytes_searched} bytes) for "
        f"{proof.lines_searched} erased lines: "
        + (f"still in {', '.join(proof.found_in)}." if proof.found_in else "none is left."),
        highlight=False,
        soft_wrap=True,
    )
    for path in proof.removed:
        out.print(f"Removed or emptied: {path}", highlight=False, soft_wrap=True)
    for path in proof.backups:
        out.print(f"Still in a backup: {path}", highlight=False, soft_wrap=True)
