"""Continue's development data: `~/.continue/dev_data/<version>/*.jsonl`, one file an event's name.

`chatInteraction` has the prompts with their session, `toolUsage` the tools, `editOutcome` an edit
that was accepted or not. Only the chat names a session, so a tool belongs to the chat before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rune_engine.capture.fields import items, mapping, text
from rune_engine.capture.files import json_lines, parse
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Command, Edit, Prompt, Reading, Session, Step

_EVENTS = ("chatInteraction", "toolUsage", "editOutcome")
_EXIT = re.compile(r"[Ee]xit code:? (-?\d{1,9})")
_SHELLS = ("run_terminal_command", "builtin_run_terminal_command", "Bash")
_WRITERS = ("create_new_file", "builtin_create_new_file", "Write")
_EDITORS = ("edit_existing_file", "builtin_edit_existing_file", "single_find_and_replace",
            "multi_edit", "Edit", "MultiEdit")  # fmt: skip


def unit_of(path: Path) -> Path | None:
    """The version's folder: its files tell one story together."""
    return path.parent if path.stem in _EVENTS and path.suffix == ".jsonl" else None


def recognises(path: Path, head: bytes) -> bool:
    return unit_of(path) is not None


def read(path: Path) -> Reading:
    """The sessions of a version's folder, or of one of its files. Raises InvalidInputError."""
    reading = Reading()
    files = [file for name in _EVENTS if (file := path / f"{name}.jsonl").is_file()]
    records = [r for file in files or [path] for r in _records(file, reading)]
    records.sort(key=lambda record: text(record.get("timestamp")))
    chats: dict[str, list[Step]] = {}
    current, known = "", set[str]()
    for record in records:
        key = repr(sorted(record.items()))
        if key in known:
            reading.skip("an event that was there before")
            continue
        known.add(key)
        name = text(record.get("eventName"))
        reading.take(name)
        if name == "chatInteraction":
            current = text(record.get("sessionId")) or current or "chat"
            prompt = _prompt(text(record.get("prompt")))
            chats.setdefault(current, []).extend([Prompt(prompt)] if prompt else [])
        elif name == "toolUsage":
            chats.setdefault(current or "tools", []).extend(_tool(record, reading))
        else:
            reading.sessions.append(_edit_outcome(record))
    for session_id, steps in chats.items():
        reading.sessions.append(Session("continue", session_id, tuple(steps)))
    return reading


def _records(file: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    for record in json_lines(file, reading):
        name = text(record.get("eventName")) or text(record.get("name")) or file.stem
        if name in _EVENTS:
            yield {**record, "eventName": name}
        else:
            reading.skip(f"event {name!r}")


def _prompt(whole: str) -> str:
    """The last thing the user said: the whole conversation is in the prompt."""
    for mark in ("<user>", "<|user|>"):
        whole = whole.rsplit(mark, 1)[-1]
    return whole.split("</user>", 1)[0].strip()


def _edit_outcome(record: dict[str, Any]) -> Session:
    """An edit of the editor's own: a session of one task."""
    steps: list[Step] = [Prompt(_prompt(text(record.get("prompt"))))]
    if record.get("accepted") is True:
        old = text(record.get("previousCode")) or None
        new = text(record.get("newCode")) or text(record.get("completion"))
        steps.append(Edit(text(record.get("filepath")), new, old=old))
    identity = f"edit-{text(record.get('timestamp'))}-{len(text(record.get('newCode')))}"
    return Session("continue", identity, tuple(steps), ended=True)


def _tool(record: dict[str, Any], reading: Reading) -> list[Step]:
    name = text(record.get("functionName"))
    given = mapping(record.get("functionParams")) or _arguments(record)
    path = text(given.get("filepath")) or text(given.get("file_path"))
    if record.get("accepted") is False or (
        name not in _SHELLS and record.get("succeeded") is False
    ):
        reading.take("a tool that was not used")
        return []
    if name in _SHELLS:
        return [_command(text(given.get("command")), record)]
    if name in _WRITERS:
        return [Edit(path, text(given.get("contents")) or text(given.get("content")), whole=True)]
    if name in _EDITORS:
        changes = items(given.get("edits")) or [given]
        return [_change(path, mapping(change)) for change in changes]
    return []


def _command(line: str, record: dict[str, Any]) -> Command:
    """A command; its exit code stands in the status of its output, where there is one."""
    parts = [mapping(part) for part in items(record.get("output"))]
    output = "\n".join(text(part.get("content")) for part in parts)
    status = " ".join(text(part.get("status")) for part in parts)
    code = _EXIT.search(status)
    if code is None and "Command completed" in status:
        return Command(line, output, "", 0)
    return Command(line, output or text(record.get("output")), "", int(code[1]) if code else None)


def _arguments(record: dict[str, Any]) -> dict[str, Any]:
    packed = record.get("toolCallArgs", record.get("functionArgs"))
    return mapping(parse(packed)) if isinstance(packed, str) else mapping(packed)


def _change(path: str, change: dict[str, Any]) -> Edit:
    new = next((text(change[k]) for k in ("new_string", "changes", "newText") if k in change), "")
    return Edit(path, new, old=text(change.get("old_string")) or None)


IMPORTER = Importer("continue", unit_of, recognises, read, (".continue/dev_data",))
