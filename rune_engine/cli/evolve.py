"""`rune evolve` and `rune merge`: which adapters stay in use; `rune adapters archive|restore`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, get_args

import typer

from rune_engine.cli.engine import Json
from rune_engine.cli.session import out, print_json, print_table, project_id, with_engine
from rune_engine.cli.work import Wait, run_job
from rune_engine.errors import InvalidInputError
from rune_engine.models import (
    ConsolidateParams,
    ConsolidateResult,
    EvolutionPlan,
    EvolutionStep,
    EvolveParams,
    EvolveResult,
    MergeMethod,
    UndoResult,
)

AdapterId = Annotated[str, typer.Argument(help="The adapter's id.")]
Why = Annotated[str, typer.Option(help="For the history.")]


def evolve(
    project: Annotated[
        str | None,
        typer.Argument(help="The project's id or a folder of it; by default this one's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be decided.")
    ] = False,
    undo: Annotated[
        int | None, typer.Option(metavar="EVENT", help="Take back the decision of this number.")
    ] = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Decide which of a project's adapters stay in use, by what was measured of them."""
    if undo is not None:
        _show_undone(with_engine(lambda client: client.undo(undo)), as_json)
        return
    params = EvolveParams(project_id=project_id(project))
    if dry_run:
        _show_plan(with_engine(lambda client: client.plan_evolution(params)), as_json)
        return
    job = run_job(lambda client: client.evolve(params), wait)
    if job.result is None:
        return
    result = EvolveResult.model_validate(job.result)
    if as_json:
        print_json(result)
    else:
        _show_steps(result.steps, "Nothing asks for a change.")


def merge(
    adapter_ids: Annotated[list[str], typer.Argument(help="Two adapters or more.")],
    method: Annotated[str, typer.Option(help=f"{', '.join(get_args(MergeMethod))}.")] = "auto",
    base_model: Annotated[str | None, typer.Option(help="Instead of the configured one.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Make one adapter of several, measure it, and keep it if it beats them all."""
    params = _merge_params(adapter_ids, method, base_model, seed)
    job = run_job(lambda client: client.consolidate(params), wait)
    if job.result is None:
        return
    result = ConsolidateResult.model_validate(job.result)
    if as_json:
        print_json(result)
    else:
        print_table((), ((name, str(value)) for name, value in result.model_dump().items()))


def archive(adapter_id: AdapterId, reason: Why = "") -> None:
    """Take an adapter out of use; its weights stay."""
    found = with_engine(lambda client: client.archive_adapter(adapter_id, reason=reason))
    out.print(f"{found.id} is archived.")


def restore(adapter_id: AdapterId, reason: Why = "") -> None:
    """Put an archived adapter in use again."""
    found = with_engine(lambda client: client.restore_adapter(adapter_id, reason=reason))
    out.print(f"{found.id} is in use.")


def _merge_params(
    adapter_ids: list[str], method: str, base_model: str | None, seed: int
) -> ConsolidateParams:
    given = {
        "adapter_ids": adapter_ids,
        "method": method,
        "base_model": base_model,
        "seed": seed,
    }
    try:
        return ConsolidateParams.model_validate(given)
    except ValueError as error:
        raise InvalidInputError(
            f"These cannot be merged: {error}",
            next_step="Name two different adapters or more, and a method of `rune merge --help`.",
        ) from error


def _show_plan(plan: EvolutionPlan, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    _show_steps(plan.steps, "Nothing would change.")
    if plan.steps:
        out.print("Nothing was done; without --dry-run it is.")


def _show_steps(steps: Sequence[EvolutionStep], nothing: str) -> None:
    if not steps:
        out.print(nothing)
        return
    rows = (
        (step.operation, step.decision.replace("_", " "), step.reason, _numbers(step))
        for step in steps
    )
    print_table(("operation", "decision", "why", "numbers"), rows)


def _numbers(step: EvolutionStep) -> str:
    """Those that fit a cell; the history has all."""
    plain = {k: v for k, v in step.numbers.items() if isinstance(v, str | int | float | bool)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _show_undone(result: UndoResult, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    for adapter_id in result.restored:
        out.print(f"{adapter_id} is in use.")
    for adapter_id in result.archived:
        out.print(f"{adapter_id} is archived.")
    for adapter_id, why in result.left.items():
        out.print(f"{adapter_id} stays as it is: {why}")
