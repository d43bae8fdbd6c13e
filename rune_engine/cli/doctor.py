"""`rune doctor`: what is wrong with this machine, or with the data, and what to do about it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from rune_engine.cli.engine import Json
from rune_engine.cli.session import err, out, print_json
from rune_engine.config import load_config
from rune_engine.doctor import DataReport, Finding, MachineReport, examine, examine_machine, repair
from rune_engine.errors import InvalidInputError

_STYLES = {"good": "green", "warning": "yellow", "problem": "red", "untried": "cyan"}


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Look only; load and try nothing.")
    ] = False,
    data: Annotated[bool, typer.Option("--data", help="Examine all that is stored.")] = False,
    mend: Annotated[bool, typer.Option("--repair", help="With --data: mend what can be.")] = False,
    as_json: Json = False,
) -> None:
    """Examine the machine and try training and serving, or with --data every byte that is stored.

    Changes nothing by itself. Exit code 1 when something is wrong and was not mended; what could
    not be tried is not wrong.
    """
    if mend and not data:
        raise InvalidInputError("--repair mends data.", next_step="Say `rune doctor --data`, too.")
    report = _examine_data(mend) if data else _examine_machine(quick)
    if as_json:
        print_json(report)
    elif isinstance(report, DataReport):
        _show_data(report)
    else:
        _show_machine(report)
    if not report.healthy:
        raise typer.Exit(1)


def _examine_machine(quick: bool) -> MachineReport:
    with err.status("looking at the machine") as status:
        return asyncio.run(
            examine_machine(
                load_config(), quick=quick, trying=lambda line: status.update(f"trying: {line}")
            )
        )


def _examine_data(mend: bool) -> DataReport:
    with Progress(console=err, transient=True) as progress:
        progress.add_task("reading everything", total=None)
        return repair(load_config()) if mend else examine(load_config())


def _show_machine(report: MachineReport) -> None:
    table = Table("", "what", "found", box=None, pad_edge=False)
    for check in report.checks:
        style = _STYLES[check.status]
        table.add_row(Text(check.status, style=style), Text(check.name), Text(check.detail))
    out.print(table)
    # Not in the table: a command that is folded cannot be copied.
    for check in report.checks:
        if check.next_step:
            out.print(Text(f"{check.name}: ", style=_STYLES[check.status]), end="")
            out.print(Text(check.next_step), soft_wrap=True)


def _show_data(report: DataReport) -> None:
    for finding in report.findings:
        _show_finding(finding)
    for note in report.notes:
        out.print(Text(note), soft_wrap=True)
    if report.quarantine:
        out.print(Text(f"What was moved is in {report.quarantine}."), soft_wrap=True)
    size = f"{report.bytes_hashed / 1024**2:.1f} MiB"
    out.print(
        f"{len(report.findings)} findings in {report.adapters} adapters ({size} hashed) and "
        f"{report.trajectories} trajectories.",
        highlight=False,
    )


def _show_finding(finding: Finding) -> None:
    style = "green" if finding.repaired else "red"
    out.print(Text(f"{finding.kind}: ", style=style), end="")
    out.print(Text(finding.what), soft_wrap=True)
    out.print(Text(f"  {finding.means}"), soft_wrap=True)
    if finding.repaired:
        out.print(Text(f"  Mended. {finding.repair}"), soft_wrap=True)
    elif finding.repair:
        out.print(Text(f"  --repair: {finding.repair}"), soft_wrap=True)
