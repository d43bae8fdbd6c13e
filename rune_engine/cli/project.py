"""`rune project`: which project a folder is, what is held of it, and whether it is recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from rune_engine import projects
from rune_engine.cli.engine import Json
from rune_engine.cli.session import print_json, print_table, project_id, with_engine

_SWITCH = {"on": True, "off": False}


def project(
    what: Annotated[
        str, typer.Argument(metavar="[on|off] [PROJECT]", help="A folder or a project's id.")
    ] = ".",
    which: Annotated[str, typer.Argument(hidden=True)] = ".",
    as_json: Json = False,
) -> None:
    """Show a project, or turn recording it on or off.

    Without an argument it is the project of the current folder. Nothing is recorded of a project
    that is off, and nothing is learnt from what was recorded before; that stays until it is
    forgotten. A folder's path begins with `/`, `.` or `~`.
    """
    if what in _SWITCH:
        name, recorded = project_id(which), _SWITCH[what]
        state = with_engine(lambda client: client.set_recording(name, recorded=recorded))
    else:
        name = project_id(what)
        state = with_engine(lambda client: client.project(name))
    if as_json:
        print_json(state)
        return
    given = which if what in _SWITCH else what
    rows = {key: str(value) for key, value in state.model_dump().items()}
    rows["recorded"] = "yes" if state.recorded else "no; `rune project on` records it again"
    if projects.is_path(given):
        found = projects.identify(given)
        rows |= {"root": str(found.root), "remote": found.remote or "none"}
    print_table((), rows.items())
