"""SWE-agent's `.traj` files: one JSON document a run, with every action and what followed.

It has no exit codes: the observation is all that is known of a command. The editor's commands name
no file; the state beside them does.
"""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from rune_engine.capture.fields import items, joined_text, mapping, text
from rune_engine.capture.files import json_document, parse
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.self_checks import checks_itself
from rune_engine.capture.shell import read_command
from rune_engine.capture.steps import Command, Edit, Prompt, Reading, Session, Step

_LINES = re.compile(r"edit (\d+:\d+)[^\n]*\n(.*?)\n?end_of_edit\s*\Z", re.S)
_EDITORS = frozenset({"create", "insert", "edit", "str_replace_editor", "append"})
_REFUSED = (
    "Your proposed edit has introduced new syntax error",
    "Your changes have NOT been applied",
)
_NOT_MADE = (
    "Error",
    "ERROR",
    "Usage:",
    "No replacement was performed",
    "Text not found",
    "No file",
)
_WINDOW = re.compile(r"^\[File: (\S+) \((\d{1,5}) lines total\)\]\n(.*)", re.M | re.S)
_PROGRAM = re.compile(r"python3? ([\w./-]+\.py)")
_ISSUE = (
    re.compile(r"ISSUE:\n(.*?)\n+INSTRUCTIONS:", re.S),
    re.compile(r"<(?:pr_description|issue|problem_statement)>\n?(.*?)</", re.S),
)


def unit_of(path: Path) -> Path | None:
    return path if path.suffix == ".traj" else None


def recognises(path: Path, head: bytes) -> bool:
    return (
        path.suffix == ".traj" and b'"messages"' not in head[:200] and b"mini_version" not in head
    )


def read(path: Path) -> Reading:
    """The run of a `.traj` file. Raises InvalidInputError."""
    reading = Reading()
    document, whole = json_document(path, reading)
    run = mapping(document)
    steps: list[Step] = []
    cwd, shown = None, _Shown()
    for record in items(run.get("trajectory")):
        state = _state(mapping(record).get("state"))
        cwd = cwd or text(state.get("working_dir")) or None
        steps += _steps(mapping(record), state, reading, shown)
    task = _task(run)
    if task:
        steps.insert(0, Prompt(task, cwd))
    ended = whole and bool(mapping(run.get("info")).get("exit_status"))
    reading.sessions.append(Session("swe-agent", path.stem, tuple(steps), cwd, ended=ended))
    return reading


def _task(run: dict[str, Any]) -> str:
    """What the run was asked: the issue's text, without the instructions around it."""
    replay = mapping(run.get("replay_config"))
    stated = text(mapping(replay.get("problem_statement")).get("text"))
    if stated.strip():
        return stated.strip()
    for message in map(mapping, items(run.get("history"))):
        if message.get("role") != "user" or message.get("is_demo") is True:
            continue
        said = joined_text(message.get("content"))
        found = next((match[1] for form in _ISSUE if (match := form.search(said))), said)
        return found.strip()
    return ""


class _Shown:
    """The files that the editor has shown in full, as they are since."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def look(self, output: str) -> None:
        """Take up what an editor's window shows; of a file shown in part nothing is known."""
        if (window := _WINDOW.search(output)) is None:
            return
        numbered = [line.partition(":") for line in window[3].split("\n")[: int(window[2])]]
        whole = [number for number, _, _ in numbered] == [
            str(place + 1) for place in range(int(window[2]))
        ]
        self._texts.pop(window[1], None)
        if whole:
            self._texts[window[1]] = "\n".join(line for _, _, line in numbered) + "\n"

    def changed(self) -> None:
        """A command ran that may have written anything."""
        self._texts.clear()

    def checks(self, action: str, folder: str) -> bool:
        """Whether a command does nothing but run a program that checks itself."""
        found = _PROGRAM.fullmatch(action)
        return found is not None and checks_itself(
            self._texts.get(str(PurePosixPath(folder, found[1])), "")
        )


def _steps(
    record: dict[str, Any], state: dict[str, Any], reading: Reading, shown: _Shown
) -> list[Step]:
    action = text(record.get("action")).strip()
    output = text(record.get("observation")).replace("\r\n", "\n").rstrip("\n")
    if not action:
        reading.skip("a step without an action")
        return []
    word = action.split(maxsplit=1)[0]
    if word not in _EDITORS:
        reading.take("command")
        checks = shown.checks(action, text(state.get("working_dir")))
        if not checks and read_command(action).kind != "look":
            shown.changed()
        shown.look(output)
        return [Command(action, output, checks=checks)]
    if not any(sign in output for sign in _REFUSED):
        shown.look(output)
    edit = _edit(word, action, state)
    if edit is None or output.startswith(_NOT_MADE):
        reading.take("an edit that was not made" if edit else f"editor: {word}")
        return []
    reading.take("edit")
    if any(sign in output for sign in _REFUSED):
        return [Edit(edit.path, edit.new, edit.old, edit.at, edit.whole, refused=output)]
    return [edit]


def _edit(word: str, action: str, state: dict[str, Any]) -> Edit | None:
    opened, folder = text(state.get("open_file")), text(state.get("working_dir"))
    if found := _LINES.match(action):
        return Edit(opened, found[2], at=found[1])
    try:
        words = shlex.split(action)
    except ValueError:
        return None
    if word == "create" and len(words) > 1:
        return Edit(str(PurePosixPath(folder, words[1])), "", whole=True)
    if word == "insert" and len(words) > 1:
        return Edit(opened, words[1])
    if word == "edit" and len(words) > 2:
        return Edit(opened, words[2], old=words[1])
    return _str_replace(words) if word == "str_replace_editor" else None


def _str_replace(words: list[str]) -> Edit | None:
    """`str_replace_editor create|str_replace|insert PATH --file_text ... --new_str ...`"""
    given = {name[2:]: value for name, value in pairwise(words) if name[:2] == "--"}
    command, path = (*words[1:3], "", "")[:2]
    if command == "create":
        return Edit(path, given.get("file_text", ""), whole=True)
    if command == "str_replace":
        return Edit(path, given.get("new_str", ""), old=given.get("old_str") or None)
    if command == "insert":
        return Edit(path, given.get("new_str", ""))
    return None


def _state(state: Any) -> dict[str, Any]:
    """Older versions write it as JSON in a string."""
    return mapping(parse(state)) if isinstance(state, str) else mapping(state)


IMPORTER = Importer("swe-agent", unit_of, recognises, read)
