"""`rune daemon`: the engine as a service that starts at login and consolidates by itself."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from rune_engine.cli.engine import Json
from rune_engine.cli.session import err, out, print_json, print_table, with_engine
from rune_engine.client import EngineClient
from rune_engine.config import load_config
from rune_engine.errors import ServiceManagerError
from rune_engine.harmless import harmless
from rune_engine.home import prepare_home
from rune_engine.login_service.service import LoginService, login_service
from rune_engine.models import ConsolidationStatus, EngineHealth

app = typer.Typer(help=__doc__, no_args_is_help=True)

_FOLLOW_SECONDS = 0.5


@app.command()
def install() -> None:
    """Start the engine now and at every login; one that was started on demand makes way."""
    config = load_config()
    service = login_service(config)
    prepare_home(config)
    _say(service.install())
    out.print("Settings for it belong in", str(config.home / "config.toml"), soft_wrap=True)


@app.command()
def uninstall() -> None:
    """Stop the service and remove what `install` wrote; the memory stays."""
    _say(login_service(load_config()).uninstall())


@app.command()
def status(as_json: Json = False) -> None:
    """Say whether it is installed, what is due, and what it waits for; starts nothing.

    Exit code 3 when no engine runs.
    """

    async def ask(
        client: EngineClient,
    ) -> tuple[EngineHealth | None, ConsolidationStatus | None]:
        health = await client.running()
        return health, None if health is None else await client.consolidation()

    health, found = with_engine(ask)
    if as_json:
        out.print("null") if found is None else print_json(found)
    else:
        print_table((), [*_service_rows(), *_engine_rows(health, found)])
    if health is None:
        raise typer.Exit(3)


@app.command()
def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many to show.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show the end of the engine's log."""
    path = load_config().logs_path / "engine.log"
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as log:
        sys.stdout.writelines(map(harmless, deque(log, maxlen=lines)))
        sys.stdout.flush()
        if follow:
            with suppress(KeyboardInterrupt):
                for line in _new_lines(path, log.tell()):
                    sys.stdout.write(harmless(line))
                    sys.stdout.flush()
        return
    err.print(f"There is no log at {path} yet.", soft_wrap=True)


@app.command()
def run() -> None:
    """Be the engine, in the foreground, until Ctrl-C; what the service runs."""
    from rune_engine.service.process import main
    from rune_engine.starter import EXIT_ALREADY_RUNNING

    code = main(["--stay"])
    if code == EXIT_ALREADY_RUNNING:
        err.print("An engine that stays runs in this home already: see `rune daemon status`.")
    raise typer.Exit(code)


def _say(sentences: list[str]) -> None:
    for sentence in sentences:
        out.print(sentence, soft_wrap=True, highlight=False)


def _service_rows() -> Iterator[tuple[str, str]]:
    try:
        service: LoginService = login_service(load_config())
    except ServiceManagerError as error:
        yield "service", error.message
        return
    if service.installed:
        yield "service", f"{service.path} ({service.state()})"
    else:
        yield "service", "not installed"


def _engine_rows(
    health: EngineHealth | None, found: ConsolidationStatus | None
) -> Iterator[tuple[str, str]]:
    if health is None or found is None:
        yield "engine", "not running"
        return
    yield "engine", f"pid {health.pid}, " + ("stays" if found.stays else "ends when idle")
    yield "consolidation", found.state
    yield from (("due", line) for line in found.due)
    yield from (("resting", line) for line in found.resting)


def _new_lines(path: Path, position: int) -> Iterator[str]:
    """Whatever is written to the log from `position` on, also once it is rotated; never ends."""
    log = path.open(encoding="utf-8", errors="replace")
    log.seek(position)
    try:
        while True:
            if line := log.readline():
                yield line
            elif _is_other_file(path, log.fileno()):
                yield from log
                log.close()
                log = path.open(encoding="utf-8", errors="replace")
            else:
                time.sleep(_FOLLOW_SECONDS)
    finally:
        log.close()


def _is_other_file(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_ino != os.fstat(descriptor).st_ino
    return False
