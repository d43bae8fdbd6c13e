"""`rune experiment`: what decides whether to believe in distilled memory."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rune_engine.cli.session import err, out
from rune_engine.config import RuneConfig, load_config
from rune_engine.durable import alone_in
from rune_engine.errors import ConflictError, InvalidInputError
from rune_engine.extras import require

if TYPE_CHECKING:
    from rune_engine.experiments.figures import Figures
    from rune_engine.experiments.settings import GateSettings

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What decides whether to believe in distilled memory."""


@app.command()
def gate(
    more_seeds: Annotated[
        list[int] | None, typer.Argument(metavar="[SEED]...", help="Further seeds.")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option(min=0, help="Of generated projects: --seeds 1 2 3 4 5.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="A base model, as in the configuration.")] = None,
    suite: Annotated[
        Path | None,
        typer.Option(help="Tasks in HumanEval's format, .jsonl or .jsonl.gz, for the projects."),
    ] = None,
    suite_share: Annotated[float, typer.Option(help="Of the suite that is taught.")] = 0.5,
    projects: Annotated[int, typer.Option(min=1, max=100, help="Of each seed.")] = 3,
    sessions: Annotated[int, typer.Option(min=6, max=100, help="Recorded in each project.")] = 12,
    tasks: Annotated[int, typer.Option(min=1, max=50, help="Of each kind and project.")] = 8,
    plain: Annotated[int, typer.Option(min=0, help="Tasks that need no project, each turn.")] = 8,
    samples: Annotated[int, typer.Option(min=1, max=100, help="Answers to each task.")] = 5,
    side_samples: Annotated[
        int, typer.Option(min=1, help="At most, beside the conditions: growth, repair and so on.")
    ] = 2,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 0.2,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer.")] = None,
    growth: Annotated[str, typer.Option(help="Numbers of trajectories; '' for none.")] = "1,3,6",
    growth_direct: Annotated[
        bool, typer.Option("--growth-direct", help="Growth of direct training, too.")
    ] = False,
    consolidated: Annotated[int, typer.Option(min=0, help="Projects in one adapter.")] = 4,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of samples and intervals.")] = 0,
    work: Annotated[
        Path | None, typer.Option(help="Keeps what was found out; the same folder goes on.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
    assessment: Annotated[
        Path | None, typer.Option(help="Write the assessment, Markdown; plots beside it.")
    ] = None,
    track: Annotated[bool, typer.Option(help="Record an MLflow run.")] = True,
) -> None:
    """Ask unseen projects' tasks of the base model and of every kind of memory, and decide."""
    require("experiments", "The gate")
    from rune_engine.experiments.settings import GateSettings

    config = load_config()
    settings = GateSettings(
        base=base or config.base_model,
        seeds=(*(seeds or ()), *(more_seeds or ())) or (1, 2, 3, 4, 5),
        projects=projects,
        sessions=sessions,
        tasks=tasks,
        plain=plain,
        samples=samples,
        side_samples=side_samples,
        temperature=temperature,
        max_tokens=max_tokens or (512 if suite else 192),
        growth=_counts(growth),
        growth_direct=growth_direct,
        consolidated=consolidated,
        resamples=resamples,
        seed=seed,
        suite=suite,
        suite_share=suite_share,
    )
    figures = _run(settings, config, work)
    _print(figures)
    files = _write(figures, json_file, assessment)
    if track:
        _track(figures, files, config)


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InvalidInputError(
            f"{text!r} are not numbers of trajectories.", next_step="Give --growth 1,3,6."
        ) from error


def _run(settings: GateSettings, config: RuneConfig, work: Path | None) -> Figures:
    from rune_engine.experiments.base import find_base
    from rune_engine.experiments.gate import Machinery, run_gate
    from rune_engine.inference.factory import create_provider
    from rune_engine.jobs.trainer import Trainers
    from rune_engine.sandbox import Sandbox

    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rune-gate-")))
        folder.mkdir(parents=True, exist_ok=True)
        if not stack.enter_context(alone_in(folder)):
            raise ConflictError(
                f"Another run works in {folder}.", next_step="Wait for it, or name another --work."
            )
        bars = stack.enter_context(Progress(*columns, console=err))

        def begin(title: str, parts: int) -> Callable[[int], None]:
            bar = bars.add_task(title, total=parts)
            return lambda count: bars.advance(bar, count)

        machinery = Machinery(
            config=config,
            base=find_base(settings.base, config),
            provider=create_provider(settings.base, config),
            sandbox=Sandbox(config.sandbox),
            trainers=Trainers(),
            work=folder.absolute(),
            progress=begin,
        )

        async def run() -> Figures:
            try:
                return await run_gate(settings, machinery)
            finally:
                await machinery.provider.close()

        return asyncio.run(run())


def _print(figures: Figures) -> None:
    from rune_engine.experiments.report import rows
    from rune_engine.experiments.written import verdict

    titles = ("condition", "Pass@1", "95 % interval", "gain", "prompt tokens", "s an adapter")
    table = Table(*titles, title="Held-out tasks of projects that nobody has seen")
    for row in rows(figures):
        table.add_row(*row)
    out.print(table)
    for name, each in figures["conditions"].items():
        if each["reason"]:
            out.print(f"{name} is not available: {each['reason']}", highlight=False)
    promises = Table("what must hold", "", "measured")
    for promise in figures["promises"]:
        held = verdict(promise["held"]).replace("*", "")
        promises.add_row(promise["line"], held, promise["figure"])
    out.print(promises)
    for check in figures["leaks"]:
        if not check["clean"]:
            out.print(f"Leak: {check['title']} ({check['count']}).", style="red")
    out.print(figures["decided_by"]["reason"], highlight=False)
    out.print(figures["decision"], style="bold")


def _write(figures: Figures, json_file: Path | None, assessment: Path | None) -> list[Path]:
    """Write what was asked for; the files."""
    from rune_engine.experiments import report
    from rune_engine.experiments.plots import plot

    written: list[Path] = []
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        written.append(json_file)
    if assessment is not None:
        plots = plot(figures, assessment.parent, assessment.stem)
        if not plots:
            err.print("There are no plots: matplotlib is not installed.")
        assessment.parent.mkdir(parents=True, exist_ok=True)
        assessment.write_text(report.assessment(figures, plots), encoding="utf-8")
        written += [assessment, *plots.values()]
    return written


def _track(figures: Figures, files: list[Path], config: RuneConfig) -> None:
    from rune_engine.experiments.tracking import track

    run = track(figures, files, config)
    if run is None:
        err.print("Nothing was tracked: MLflow is not installed.")
    else:
        err.print(f"MLflow run {run} in {config.tracking_path}", soft_wrap=True)
