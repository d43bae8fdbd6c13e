"""`rune sandbox`: what this machine's sandbox holds back, and one isolated run by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from rune_engine.cli.session import err, out
from rune_engine.config import load_config
from rune_engine.errors import InvalidInputError
from rune_engine.sandbox.conformance import driver
from rune_engine.sandbox.conformance.manifest import FAMILIES, REQUIREMENTS, Requirement
from rune_engine.sandbox.conformance.report import Report, Row
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.verdict import Pass

app = typer.Typer(help=__doc__, no_args_is_help=True)

_Tier = Annotated[str | None, typer.Option("--tier", help="A tier's name, not the best one.")]
_File = Annotated[Path, typer.Argument(exists=True, dir_okay=False)]


def _sandbox(tier: str | None) -> Sandbox:
    limits = load_config().sandbox
    return Sandbox(limits) if tier is None else Sandbox(limits, tier=tier)


def _ids(only: str | None) -> frozenset[str]:
    wanted = frozenset(name.strip().upper() for name in (only or "").split(",") if name.strip())
    known = {requirement.id for requirement in REQUIREMENTS}
    if unknown := sorted(wanted - known):
        raise InvalidInputError(
            f"There is no attack called {', '.join(unknown)}.",
            next_step="Give ids such as N1,F4,X5; `rune sandbox check` lists them all.",
        )
    return wanted


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    tier: _Tier = None,
    only: Annotated[str | None, typer.Option(help="Ids, separated by commas.")] = None,
) -> None:
    """Attack the sandbox of this machine; exit code 1 when anything got out or was forged."""
    wanted = _ids(only)
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("attacking", total=None)

        def show(label: str, total: int) -> None:
            progress.update(bar, advance=1, total=total)

        report = asyncio.run(driver.check(_sandbox(tier), only=wanted, progress=show))
    if as_json:
        out.print_json(report.model_dump_json(exclude={"rows"}))
    else:
        _print(report, wanted)
    if report.escaped or report.forged:
        raise typer.Exit(1)


@app.command("run")
def run_one(
    file: _File,
    tests: Annotated[Path, typer.Option(exists=True, dir_okay=False)],
    tier: _Tier = None,
) -> None:
    """Run FILE and its tests in the sandbox; exit code 1 unless they pass."""
    verdict = asyncio.run(_sandbox(tier).run(file.read_text("utf-8"), tests.read_text("utf-8")))
    evidence = verdict.evidence
    if evidence is not None:
        out.print(Text(evidence.stdout), end="")
        err.print(Text(evidence.stderr), end="")
    out.print(Text(verdict.kind, style="green" if isinstance(verdict, Pass) else "red"))
    if not isinstance(verdict, Pass):
        err.print(Text(verdict.message), soft_wrap=True)
        raise typer.Exit(1)


def _print(report: Report, wanted: frozenset[str]) -> None:
    table = Table("id", "attack", "what must hold", "attacks", "result", box=None, pad_edge=False)
    shown = [each for each in REQUIREMENTS if not wanted or each.id in wanted]
    for family, requirements in groupby(shown, key=lambda each: each.id[0]):
        table.add_row("", Text(FAMILIES[family], style="bold"))
        for requirement in requirements:
            rows = [row for row in report.rows if row.id == requirement.id]
            table.add_row(*_cells(requirement, rows), _result(requirement, rows))
    out.print(table)
    out.print(f"\n{report.tier}: {report.attacks} attacks in {report.seconds} s")
    _print_list("Escaped", report.escaped)
    _print_list("Forged", report.forged)
    _print_list("Passed in its own process, and suspected", report.flagged)
    _print_list("This tier does not claim to hold", report.limits)
    _print_list("No verdict", [row.label for row in report.rows if row.no_verdict])


def _cells(requirement: Requirement, rows: list[Row]) -> tuple[str, str, str, str]:
    number = str(len(rows)) if rows else "-"
    return requirement.id, requirement.title, requirement.holds, number


def _result(requirement: Requirement, rows: list[Row]) -> Text:
    effects = sorted({effect for row in rows if not row.stated for effect in row.effects})
    if effects:
        return Text(f"ESCAPED: {', '.join(effects)}", style="bold red")
    if any(row.forged for row in rows):
        return Text("FORGED", style="bold red")
    if not rows:
        return Text(requirement.checked.partition(":")[0], style="dim")
    if any(row.stated for row in rows):
        return Text("a stated limit", style="yellow")
    if any(row.no_verdict for row in rows):
        return Text("no verdict", style="yellow")
    if suspected := sum(row.flagged for row in rows):
        return Text(f"held; {suspected} suspected", style="green")
    return Text("held", style="green")


def _print_list(title: str, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        out.print(Text(f"{title}:" if number == 0 else "", style="bold"), end="")
        out.print(Text(f" {line}"), soft_wrap=True)
