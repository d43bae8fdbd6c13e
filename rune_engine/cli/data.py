"""`rune backup` and `rune restore`: a home's data in one file, and back. No engine is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rune_engine.backup import make_backup, restore_backup
from rune_engine.backup.archive import DamagedAdapter
from rune_engine.cli.engine import Json
from rune_engine.cli.session import err, print_fields, print_json
from rune_engine.config import load_config


def backup(
    file: Annotated[Path, typer.Argument(help="A new file; .gz or .tgz compresses it.")],
    as_json: Json = False,
) -> None:
    """Write the whole memory to one file while everything goes on, and read it again.

    It holds what was recorded: keep it as private as the home itself. Exit code 1 when an
    adapter's files are damaged; the file then holds all the rest.
    """
    report = make_backup(load_config(), file)
    (print_json if as_json else print_fields)(report)
    _end_with(report.damaged, "is not in the backup")


def restore(
    file: Annotated[Path, typer.Argument(help="What `rune backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what the home holds; it is kept beside.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a backup in place, all of it or nothing; the engine must not run.

    What was forgotten after the backup was made is forgotten in it, too. Exit code 1 when an
    adapter was damaged in the backup and no good copy was found; it is archived.
    """
    report = restore_backup(load_config(), file, replace=replace)
    (print_json if as_json else print_fields)(report)
    _end_with(report.damaged, "is archived")


def _end_with(damaged: list[DamagedAdapter], consequence: str) -> None:
    for adapter in damaged:
        line = f"Adapter {adapter.id} {consequence}: {adapter.why}."
        err.print(Text(line, style="red"), soft_wrap=True)
    if damaged:
        raise typer.Exit(1)
