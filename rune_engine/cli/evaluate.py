"""`rune eval`: what an adapter is worth, or how a base model does on a suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from rune_engine.cli.engine import Json
from rune_engine.cli.session import out, print_json, print_table
from rune_engine.cli.work import Wait, run_job
from rune_engine.errors import InvalidInputError
from rune_engine.models import (
    NO_ADAPTER,
    Criterion,
    Difference,
    EvaluatedTask,
    EvaluateParams,
    EvaluateResult,
)


def evaluate(
    adapter_id: Annotated[
        str | None, typer.Argument(help="The adapter's id; without it, the base model alone.")
    ] = None,
    suite: Annotated[
        Path | None, typer.Option(help="A .jsonl or .jsonl.gz in HumanEval's or MBPP's format.")
    ] = None,
    criterion: Annotated[
        Criterion, typer.Option(help="tests, or pbb: predict programs for unseen inputs.")
    ] = "tests",
    folds: Annotated[
        int | None,
        typer.Option(min=2, max=20, help="Also by what it was taught, by adapters made without."),
    ] = None,
    pass_at: Annotated[
        list[int] | None, typer.Option("--pass-at", min=1, max=200, help="k of Pass@k; repeatable.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=200, help="Answers a task; the largest k by default.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    max_tasks: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    out_of_domain: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Tasks that it must not harm.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, max=8192)] = 512,
    workspace: Annotated[
        Path | None, typer.Option(help="A folder that the tasks' code may import from.")
    ] = None,
    base_model: Annotated[str | None, typer.Option(help="Instead of the configured one.")] = None,
    as_json: Json = False,
    wait: Wait = True,
) -> None:
    """Judge an adapter by tasks that it was not trained on, against the base model alone."""
    if adapter_id is None and suite is None:
        raise InvalidInputError(
            "There is nothing to judge.", next_step="Name an adapter, or a suite with --suite."
        )
    ks = pass_at or [1]
    params = EvaluateParams(
        adapter_id=adapter_id or NO_ADAPTER,
        suite=None if suite is None else str(suite.absolute()),
        criterion=criterion,
        folds=folds,
        pass_at=tuple(ks),
        samples=samples or max(ks),
        temperature=temperature,
        seed=seed,
        max_tasks=max_tasks,
        out_of_domain_tasks=out_of_domain,
        max_tokens=max_tokens,
        workspace=None if workspace is None else str(workspace.absolute()),
        base_model=base_model,
    )
    job = run_job(lambda client: client.evaluate(params), wait)
    if job.result is None:
        return
    result = EvaluateResult.model_validate(job.result)
    if as_json:
        print_json(result)
        return
    out.print(result.reason, markup=False, highlight=False)
    print_table((), _fields(result))
    print_table(("task", "group", "with adapter", "base alone"), map(_row, result.per_task))


def _fields(result: EvaluateResult) -> Iterator[tuple[str, str]]:
    yield "evaluation", result.evaluation_id
    yield "fitness", _number(result.fitness)
    yield "pass rate", f"{_number(result.pass_rate)} (base {_number(result.base_pass_rate)})"
    yield "difference", _difference(result.difference)
    yield "generalization", _number(result.generalization)
    yield "generalization delta", _difference(result.generalization_delta)
    yield "held-out tasks", f"{result.tasks} ({result.undecided} undecided)"
    outside = f"{result.out_of_domain_tasks} ({result.out_of_domain_undecided} undecided)"
    yield "tasks outside its domain", outside
    for k in sorted(result.pass_at_k.keys() | result.base_pass_at_k.keys()):
        ours, base = result.pass_at_k.get(k), result.base_pass_at_k.get(k)
        yield f"Pass@{k}", f"{_number(ours)} (base {_number(base)})"


def _row(task: EvaluatedTask) -> tuple[str, str, str, str]:
    name = task.trajectory_id or task.task[:12]
    return name, task.group, _words(task.with_adapter), _words(task.with_base)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _difference(found: Difference | None) -> str:
    if found is None:
        return "unknown"
    return (
        f"{found.difference:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}, "
        f"{found.tasks} tasks, p = {found.p_value:.3g}"
    )


def _words(verdicts: Sequence[bool | None]) -> str:
    words = {True: "passed", False: "failed", None: "no verdict"}
    if len(verdicts) == 1:
        return words[verdicts[0]]
    counts = ((verdicts.count(verdict), word) for verdict, word in words.items())
    return ", ".join(f"{count} {word}" for count, word in counts if count)
