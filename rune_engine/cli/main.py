"""The `rune` command. Errors are a sentence and a next step on stderr, and exit code 1."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

import rune_engine
from rune_engine.cli.session import err, out
from rune_engine.errors import RuneError

COMMANDS = {
    "demo": "demo:demo",
    "run": "run_suite:run",
    "experiment": "experiment:app",
    "status": "memory:status",
    "serve": "serve:serve",
    "record": "memory:record",
    "distill": "memory:distill",
    "project": "project:project",
    "forget": "forget:forget",
    "eval": "evaluate:evaluate",
    "setup": "setup:setup",
    "history": "history:history",
    "evolve": "evolve:evolve",
    "merge": "evolve:merge",
    "doctor": "doctor:doctor",
    "backup": "data:backup",
    "restore": "data:restore",
    "import": "work:import_file",
    "capture": "capture:app",
    "mine": "mine:mine",
    "engine": "engine:app",
    "daemon": "daemon:app",
    "jobs": "jobs:app",
    "adapters": "memory:adapters",
    "model": "model:app",
    "sandbox": "sandbox:app",
    "vllm": "vllm:app",
}
"""Where each command, or group of commands, is found."""


class _Commands(TyperGroup):
    """Imports the module of the command that is asked for, and no other: some are heavy."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names: dict[str, Any] = dict.fromkeys(COMMANDS)
        self.commands = names  # what is suggested for a wrong one

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        found = getattr(import_module(f"rune_engine.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            group = typer.Typer(add_completion=False)
            group.command(cmd_name)(found)
            found = group
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


def _build() -> typer.Typer:
    app = typer.Typer(
        cls=_Commands,
        help="Parametric memory for coding agents.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
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
