"""mini-swe-agent's `.traj.json` files: the conversation, shell commands only, with return codes.

Format `mini-swe-agent-1` has the command in a code block of the answer and its result in the next
message; 1.1 has both as data in `extra`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rune_engine.capture.fields import items, joined_text, mapping, number, text
from rune_engine.capture.files import json_document, parse
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Command, Prompt, Reading, Session, Step

_BLOCK = re.compile(r"```(?:mswea_bash_command|bash)\n(.*?)\n?```", re.S)
_RESULT = re.compile(r"<returncode>(-?\d{1,9})</returncode>")
_OUTPUT = re.compile(r"<output>\n?(.*?)\n?</output>", re.S)
_ISSUE = (
    re.compile(r"<pr_description>\n?(.*?)</pr_description>", re.S),
    re.compile(r"Please solve this issue: (.*?)(?:\n\nYou can execute bash commands|\Z)", re.S),
)


def unit_of(path: Path) -> Path | None:
    return path if path.name.endswith(".traj.json") else None


def recognises(path: Path, head: bytes) -> bool:
    if path.suffix == ".traj":
        return b'"messages"' in head[:200] or b"mini_version" in head
    return path.name.endswith(".traj.json")


def read(path: Path) -> Reading:
    """The run of a `.traj.json` file. Raises InvalidInputError."""
    reading = Reading()
    document, whole = json_document(path, reading)
    run = mapping(document)
    messages = [mapping(message) for message in items(run.get("messages") or document)]
    steps: list[Step] = []
    waiting: list[str] = []
    for message in messages:
        waiting = _take(message, steps, waiting, reading)
    config = mapping(mapping(run.get("info")).get("config"))
    cwd = text(mapping(config.get("environment")).get("cwd")) or None
    ended = whole and bool(mapping(run.get("info")).get("exit_status"))
    name = path.name.removesuffix(".json").removesuffix(".traj")
    reading.sessions.append(Session("mini-swe-agent", name, tuple(steps), cwd, ended=ended))
    return reading


def _take(
    message: dict[str, Any], steps: list[Step], waiting: list[str], reading: Reading
) -> list[str]:
    """Add what a message tells to `steps`; the commands that still have no result."""
    role, said = text(message.get("role")), joined_text(message.get("content"))
    extra = mapping(message.get("extra"))
    if role == "assistant":
        actions = [text(mapping(a).get("command")) for a in items(extra.get("actions"))]
        reading.take("assistant")
        return [command for command in actions or _BLOCK.findall(said) if command]
    if role not in ("user", "tool"):
        if role != "system":
            reading.skip(f"role {role!r}")
        return waiting
    if waiting:
        command = _result(waiting[0], said, extra)
        if command is not None:
            steps.append(command)
            reading.take("command")
        return waiting[1:]
    if role == "user" and said.strip() and not steps:
        found = next((match[1] for form in _ISSUE if (match := form.search(said))), said)
        steps.append(Prompt(found.strip()))
        reading.take("task")
    return []


def _result(command: str, said: str, extra: dict[str, Any]) -> Command | None:
    """A command with its result; None when the message is no result, such as a refusal."""
    packed = mapping(parse(said)) if said.lstrip().startswith("{") else {}
    code = number(extra.get("returncode"))
    if code is None:
        code = number(packed.get("returncode"))
    if code is None and (found := _RESULT.search(said)):
        code = int(found[1])
    if code is None:
        return None
    output = text(extra.get("raw_output")) or text(packed.get("output"))
    if not output and packed:
        output = text(packed.get("output_head")) + "\n...\n" + text(packed.get("output_tail"))
    if not output and (shown := _OUTPUT.search(said)):
        output = shown[1]
    return Command(command, output, "", code)


IMPORTER = Importer("mini-swe-agent", unit_of, recognises, read, (".config/mini-swe-agent",))
