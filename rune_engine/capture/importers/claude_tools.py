"""Claude Code's tools, as its transcripts and its hooks both report them, as steps."""

from __future__ import annotations

import re
from typing import Any

from rune_engine.capture.fields import items, mapping, number, text
from rune_engine.capture.steps import Command, Edit, Step

SHELLS = frozenset({"Bash", "PowerShell"})
EDITORS = frozenset({"Write", "Edit", "MultiEdit", "NotebookEdit"})

_EXIT = re.compile(
    r"\s*(?:Error: )?(?:Exit code|Command exited with non-zero status code) (-?\d+)\n?"
)
_UNSEEN = ("backgroundTaskId", "timedOutAfterMs", "assistantAutoBackgrounded")
_NOT_RUN = ("<tool_use_error>", "The user doesn't want", "Permission", "[Request interrupted")


def edits(name: str, given: dict[str, Any]) -> list[Step]:
    """What one of the `EDITORS` did."""
    path = text(given.get("file_path")) or text(given.get("notebook_path"))
    if name == "Write":
        return [Edit(path, text(given.get("content")), whole=True)]
    if name == "NotebookEdit":
        at = f"cell {given.get('cell_id') or given.get('cell_number')}"
        return [Edit(path, text(given.get("new_source")), at=at)]
    changes = items(given.get("edits")) if name == "MultiEdit" else [given]
    return [
        Edit(path, text(change.get("new_string")), old=text(change.get("old_string")) or None)
        for change in map(mapping, changes)
    ]


def answered(given: dict[str, Any], output: str, result: Any) -> Command:
    """A command that ended well, as far as its host tells."""
    seen = mapping(result)
    unseen = seen.get("interrupted") is True or any(seen.get(name) for name in _UNSEEN)
    return Command(
        text(given.get("command")),
        text(seen.get("stdout")) if "stdout" in seen else output,
        text(seen.get("stderr")),
        None if unseen else _code(seen, 0),
    )


def failed(given: dict[str, Any], said: str) -> Command | None:
    """A command that failed, with its exit code where `said` names one; None if it was not run."""
    if said.startswith(_NOT_RUN):
        return None
    found = _EXIT.match(said)
    code = number(int(found[1])) if found and len(found[1]) < 10 else None
    return Command(text(given.get("command")), said[found.end() :] if found else said, "", code)


def _code(seen: dict[str, Any], otherwise: int) -> int:
    found = number(seen.get("exitCode", seen.get("exit_code")))
    return otherwise if found is None else found
