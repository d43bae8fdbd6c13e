"""`rune setup`: Rune in your editors, and out of them again."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from rune_engine.cli.session import err, out
from rune_engine.errors import InvalidInputError, NotFoundError, RuneError
from rune_engine.setup.change import Change
from rune_engine.setup.entries import Launch, find_launch
from rune_engine.setup.hosts import Host, hosts

_NAMES = "claude-code, claude-desktop, vscode, cursor or codex; left out: whatever is installed."

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def setup(
    host: Annotated[str | None, typer.Argument(help=_NAMES)] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take Rune out of it again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Put Rune into an editor: shows the change, keeps what was there, and asks before it writes.

    What it changes is the editor's own list of MCP servers, and for Claude Code its hooks.
    """
    launch = _launch(remove)
    if host is not None:
        _one(_named(host), launch, remove=remove, dry_run=dry_run, yes=yes)
        return
    found = [known for known in hosts().values() if known.is_found]
    if not found:
        out.print("No editor that Rune knows was found here. Name one:", _NAMES, soft_wrap=True)
    failed = [known for known in found if not _tried(known, launch, remove, dry_run, yes)]
    if failed:
        raise typer.Exit(1)


def _launch(remove: bool) -> Launch:
    try:
        return find_launch()
    except NotFoundError:
        if remove:  # Rune's entries are told by their names then
            return Launch("rune-mcp")
        raise


def _named(name: str) -> Host:
    known = hosts()
    if name not in known:
        raise InvalidInputError(
            f"{name!r} is no editor that Rune knows.", next_step=f"It knows: {', '.join(known)}."
        )
    return known[name]


def _tried(host: Host, launch: Launch, remove: bool, dry_run: bool, yes: bool) -> bool:
    """One of several; its failure stops none of the others."""
    try:
        _one(host, launch, remove=remove, dry_run=dry_run, yes=yes)
    except RuneError as error:
        err.print(f"{host.title}: {error}", style="red", markup=False, soft_wrap=True)
        return False
    return True


def _one(host: Host, launch: Launch, *, remove: bool, dry_run: bool, yes: bool) -> None:
    planned = host.removals(launch) if remove else host.additions(launch)
    changes = [change for change in planned if not change.is_empty]
    if not changes:
        state = "Rune is not in it." if remove else "Rune is in it already."
        out.print(f"{host.title}: {state}", soft_wrap=True)
        return
    out.print(f"{host.title}:", style="bold")
    for change in changes:
        for line in change.diff().splitlines():
            out.print(Text(line, style=_COLOURS.get(line[:1], "")), soft_wrap=True)
    if dry_run:
        return
    if not yes and not typer.confirm("Make this change?", default=True):
        out.print("Nothing was changed.")
        return
    for change in changes:
        change.apply()
        _say(change)
    out.print("Start it again for that to take effect." if remove else host.then, soft_wrap=True)


def _say(change: Change) -> None:
    if change.after is None:
        out.print(f"Removed {change.path}", soft_wrap=True, highlight=False)
        return
    kept = f"; before: {change.backup}" if change.backup.exists() else ""
    out.print(f"Wrote {change.path}{kept}", soft_wrap=True, highlight=False)
