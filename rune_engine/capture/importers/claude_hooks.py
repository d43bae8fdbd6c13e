"""What Claude Code's hooks handed over, line by line, in `$RUNE_HOME/hooks/<session>.jsonl`.

They tell when a session ends, and which file is its transcript. Where that file cannot be read,
they are the session: prompts, and tools with their answers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rune_engine.capture.fields import mapping, text
from rune_engine.capture.files import json_lines
from rune_engine.capture.importers import claude_tools
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Prompt, Reading, Session, Step

_KNOWN = frozenset({"SessionStart", "Stop", "SubagentStop", "SessionEnd"})


def unit_of(path: Path) -> Path | None:
    return path if path.suffix == ".jsonl" and not path.name.startswith(".") else None


def recognises(path: Path, head: bytes) -> bool:
    return path.suffix == ".jsonl" and b'"hook_event_name"' in head


def read(path: Path) -> Reading:
    """The session that the hooks of one file tell of. Raises InvalidInputError."""
    reading = Reading()
    steps: list[Step] = []
    session_id, cwd, ended = "", None, False
    for record in json_lines(path, reading):
        event = text(record.get("hook_event_name"))
        session_id = session_id or text(record.get("session_id"))
        cwd = cwd or text(record.get("cwd")) or None
        ended = event == "SessionEnd" or (ended and event in ("Stop", "SubagentStop"))
        found = _steps(event, record)
        steps += found
        if found or event in _KNOWN or event.startswith("PostToolUse"):
            reading.take(event)
        else:
            reading.skip(f"hook {event!r}")
    session = Session("claude-code", session_id or path.stem, tuple(steps), cwd, ended=ended)
    reading.sessions.append(session)
    return reading


def transcript_of(path: Path) -> Path | None:
    """The transcript that the newest hook names, if one does. Raises InvalidInputError."""
    named = [text(record.get("transcript_path")) for record in json_lines(path, Reading())]
    newest = next((name for name in reversed(named) if name), "")
    return Path(newest).expanduser() if newest and "\0" not in newest else None


def _steps(event: str, record: dict[str, Any]) -> list[Step]:
    if event == "UserPromptSubmit":
        said = text(record.get("prompt"))
        return [Prompt(said, text(record.get("cwd")) or None)] if said else []
    name, given = text(record.get("tool_name")), mapping(record.get("tool_input"))
    if event == "PostToolUse":
        if name in claude_tools.EDITORS:
            return claude_tools.edits(name, given)
        if name in claude_tools.SHELLS:
            return [claude_tools.answered(given, "", record.get("tool_response"))]
    if event == "PostToolUseFailure" and name in claude_tools.SHELLS:
        command = claude_tools.failed(given, text(record.get("error")))
        return [] if command is None else [command]
    return []


def file_name(session_id: str) -> str:
    """The name of a session's file, as `hook` makes it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", session_id)[:80] + ".jsonl"


IMPORTER = Importer("claude-code", unit_of, recognises, read)
