"""Tasks of Cline and of Roo Code: `tasks/<id>/api_conversation_history.json`.

The conversation with the model: tools are called as blocks, or in XML within the text, and answered
in the next message. Both agents have one ancestor and one format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rune_engine.capture.fields import items, joined_text, mapping, text
from rune_engine.capture.files import json_document
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.shell import patch_edits
from rune_engine.capture.steps import Command, Edit, Prompt, Reading, Session, Step

_FILE = "api_conversation_history.json"
_TOOLS = ("execute_command", "write_to_file", "replace_in_file", "apply_diff", "insert_content",
          "search_and_replace", "apply_patch")  # fmt: skip
_XML = re.compile(rf"<({'|'.join(_TOOLS)})>\n?(.*?)</\1>", re.S)
_FIELD = re.compile(r"<(command|path|content|diff|line|search|replace)>\n?(.*?)\n?</\1>", re.S)
_PROMPT = re.compile(r"<(task|feedback|user_message|answer)>\n?(.*?)\n?</\1>", re.S)
_FOLDER = re.compile(r"# Current (?:Working|Workspace) Directory \((.*?)\)")
_RESULT = re.compile(r"\A\[(\w+)[^\n]*?\] Result:\s*", re.S)
_EXIT = re.compile(r"[Ee]xit(?:ed with)? code:? (-?\d{1,9})")
_HUNK = re.compile(
    r"^(?:<{5,} ?SEARCH|-{5,} ?SEARCH)>?\n(?::start_line:[^\n]*\n)?(?:-{5,}\n)?(.*?)^={5,}\n(.*?)"
    r"^(?:>{5,} ?REPLACE|\+{5,} ?REPLACE)",
    re.M | re.S,
)
_REFUSALS = ("The user denied this operation", "The tool execution failed", "<error_details>")


def unit_of(path: Path) -> Path | None:
    return path if path.name == _FILE else None


def recognises(path: Path, head: bytes) -> bool:
    return path.name == _FILE and not _is_roo(path)


def _recognises_roo(path: Path, head: bytes) -> bool:
    return path.name == _FILE and _is_roo(path)


def _is_roo(path: Path) -> bool:
    """Whether it is in the folder of Roo Code, or of an agent that came from it."""
    return any("roo" in part.lower() for part in path.parts[-4:-2])


def read(path: Path) -> Reading:
    """The conversation of one task. Raises InvalidInputError."""
    reading = Reading()
    document, _ = json_document(path, reading)
    task = _Task(reading)
    for message in map(mapping, items(document)):
        task.take(message)
    reading.sessions.append(
        Session(
            agent="roo" if _is_roo(path) else "cline",
            id=path.parent.name,
            steps=tuple(task.steps),
            cwd=task.cwd,
            waiting=bool(task.calls),
        )
    )
    return reading


class _Task:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.steps: list[Step] = []
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.cwd: str | None = None

    def take(self, message: dict[str, Any]) -> None:
        role, content = text(message.get("role")), message.get("content")
        blocks = items(content) or [{"type": "text", "text": text(content)}]
        if role == "assistant":
            self.calls = [call for block in map(mapping, blocks) for call in _calls(block)]
        elif role == "user":
            for block in map(mapping, blocks):
                self._user(block)
        else:
            self.reading.skip(f"role {role!r}")
            return
        self.reading.take(role)

    def _user(self, block: dict[str, Any]) -> None:
        said = text(block.get("text"))
        if block.get("type") == "tool_result":
            said = joined_text(block.get("content"))
            self._answer(text(block.get("tool_use_id")), "", said)
            return
        if self.cwd is None and (folder := _FOLDER.search(said)):
            self.cwd = folder[1]
        result = _RESULT.match(said)
        if result:
            self._answer("", result[1], said[result.end() :])
        elif self.calls and not said.startswith(("<environment_details>", "<feedback>")):
            self._answer("", self.calls[0][1], said)  # the result, in a block after its heading
        for _, prompt in _PROMPT.findall(said):
            if prompt.strip():
                self.steps.append(Prompt(prompt.strip(), self.cwd))

    def _answer(self, call_id: str, name: str, said: str) -> None:
        """Pair an answer with the first call of that id or name; a mere heading answers nothing."""
        if not said.strip():
            return
        match = next(
            (c for c in self.calls if (c[0] == call_id if call_id else c[1] == name)), None
        )
        if match is None:
            return
        self.calls.remove(match)
        if any(sign in said for sign in _REFUSALS):
            self.reading.take("a call that was not done")
        else:
            self.steps += _steps(match[1], match[2], said)


def _calls(block: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    if block.get("type") == "tool_use":
        given = mapping(block.get("input"))
        fields = {name: text(value) for name, value in given.items()}
        yield text(block.get("id")), text(block.get("name")), fields
    elif block.get("type") == "text":
        for name, body in _XML.findall(text(block.get("text"))):
            yield "", name, dict(_FIELD.findall(body))


def _steps(name: str, given: dict[str, str], said: str) -> list[Step]:
    path = given.get("path", "")
    if name == "execute_command":
        code = _EXIT.search(said[:1000])
        output = said.split("Output:\n", 1)[-1]
        return [Command(given.get("command", ""), output, "", int(code[1]) if code else None)]
    if name == "write_to_file":
        return [Edit(path, given.get("content", ""), whole=True)]
    if name in ("replace_in_file", "apply_diff"):
        return [
            Edit(path, new, old=old or None) for old, new in _HUNK.findall(given.get("diff", ""))
        ]
    if name == "insert_content":
        return [Edit(path, given.get("content", ""))]
    if name == "search_and_replace":
        return [Edit(path, given.get("replace", ""), old=given.get("search") or None)]
    return list(patch_edits(given.get("input", ""))) if name == "apply_patch" else []


_STORES = (
    ".config/Code/User/globalStorage", "Library/Application Support/Code/User/globalStorage",
)  # fmt: skip
IMPORTER = Importer(
    "cline",
    unit_of,
    recognises,
    read,
    (*(f"{store}/saoudrizwan.claude-dev/tasks" for store in _STORES), ".cline/data/tasks"),
)
ROO = Importer(
    "roo",
    unit_of,
    _recognises_roo,
    read,
    tuple(f"{store}/rooveterinaryinc.roo-cline/tasks" for store in _STORES),
)
