"""The `rune` command. Errors are a sentence and a next step on stderr, and exit code 1."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.text import Text

import rune_engine
from rune_engine.cli import (
    daemon,
    data,
    demo,
    doctor,
    engine,
    export,
    forget,
    history,
    jobs,
    memory,
    model,
    project,
    run_suite,
    sandbox,
    serve,
    vllm,
    work,
)
from rune_engine.cli.session import err, out
from rune_engine.errors import RuneError

COMMANDS = (
    demo.demo,
    run_suite.run,
    memory.status,
    serve.serve,
    memory.record,
    memory.distill,
    project.project,
    forget.forget,
    work.evaluate,
    history.history,
    doctor.doctor,
    data.backup,
    data.restore,
)
GROUPS = {
    "engine": engine.app,
    "daemon": daemon.app,
    "jobs": jobs.app,
    "adapters": memory.adapters,
    "model": model.app,
    "sandbox": sandbox.app,
    "vllm": vllm.app,
}


def _build() -> typer.Typer:
    app = typer.Typer(
        help="Parametric memory for coding agents.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for command in COMMANDS:
        app.command()(command)
    app.command("import")(work.import_file)
    memory.adapters.command("export")(export.export)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"rune {rune_engine.__version__}", highlight=False)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


app = _build()


def main() -> None:
    """The console script."""
    try:
        app()
    except RuneError as error:
        err.print(Text(error.message, style="red"), soft_wrap=True)
        if error.next_step:
            err.print(Text(error.next_step), soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
