"""`rune history`: what happened to the memory, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from rune_engine.cli.engine import Json
from rune_engine.cli.session import print_json, print_table, with_engine


def history(
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 30,
    as_json: Json = False,
) -> None:
    """Show decisions, changes and finished jobs, newest first."""
    page = with_engine(lambda client: client.history(project_id=project, limit=limit))
    if as_json:
        print_json(*page.entries)
        return
    rows = ((entry.at[:19], entry.project_id or "", entry.line) for entry in page.entries)
    print_table(("time (UTC)", "project", "what"), rows)
