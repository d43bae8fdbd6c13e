"""`rune engine`: start, stop and look at the background engine. It also starts by itself."""

from __future__ import annotations

from typing import Annotated

import typer

from rune_engine.cli.session import out, print_fields, print_json, with_engine

app = typer.Typer(help=__doc__, no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


@app.command()
def start() -> None:
    """Start the engine, if it does not run yet."""
    health = with_engine(lambda client: client.start())
    out.print(f"Engine {health.version} runs, pid {health.pid}.")


@app.command()
def stop() -> None:
    """Stop the engine; jobs that were running go on when it starts again."""
    stopped = with_engine(lambda client: client.stop())
    out.print("Engine stopped." if stopped else "No engine was running.")


@app.command()
def status(as_json: Json = False) -> None:
    """Say whether the engine runs; does not start it. Exit code 3 when it does not."""
    health = with_engine(lambda client: client.running())
    if health is None:
        out.print("null" if as_json else "No engine is running.")
        raise typer.Exit(3)
    (print_json if as_json else print_fields)(health)
