"""OpenHands' events: a folder of `event-*.json`, one JSON array, or a zip of either.

Version 1 names every event by its `kind` and pairs an action with its observation by the tool
call; version 0 has an `action` or an `observation`, paired by `cause`.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rune_engine.capture.fields import items, joined_text, mapping, number, text
from rune_engine.capture.files import MAX_FILE_BYTES, json_document, parse, read_bytes
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Command, Edit, Prompt, Reading, Session, Step

_MOST_EVENTS = 20_000
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(OSError, ValueError, NotImplementedError, RuntimeError, EOFError),
)
_TERMINALS = ("ExecuteBash", "Terminal", "CmdRun", "CmdOutput")


def unit_of(path: Path) -> Path | None:
    """The folder of events that a file is in."""
    if path.parent.name in ("events", "event_cache") and path.suffix == ".json":
        return path.parent
    return path.parent if path.name.startswith("event-") and path.suffix == ".json" else None


def recognises(path: Path, head: bytes) -> bool:
    if path.suffix == ".zip":
        return b"event" in head
    start = head.lstrip()[:1]
    named = b'"source"' in head and (b'"kind"' in head or b'"action"' in head or b'"args"' in head)
    return unit_of(path) is not None or (path.suffix == ".json" and start == b"[" and named)


def read(path: Path) -> Reading:
    """The conversation of a unit. Raises InvalidInputError."""
    reading = Reading()
    conversation = _Conversation(reading)
    for event in _events(path, reading):
        conversation.take(event)
    name = path.parent.name if path.is_dir() and path.name == "events" else path.stem
    reading.sessions.append(
        Session(
            agent="openhands",
            id=name,
            steps=tuple(conversation.steps),
            cwd=conversation.cwd,
            ended=conversation.ended,
            waiting=bool(conversation.calls),
        )
    )
    return reading


def _events(path: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    if path.is_dir():
        for file in sorted(path.glob("*.json"), key=_order)[:_MOST_EVENTS]:
            document, _ = json_document(file, reading)
            yield mapping(document)
    elif path.suffix == ".zip":
        yield from _zipped(path, reading)
    else:
        document, _ = json_document(path, reading)
        yield from map(mapping, items(document))


def _order(path: Path) -> tuple[int, str]:
    digits = "".join(c if c.isdigit() else " " for c in path.stem).split()
    return (int(digits[0][:12]) if digits else 0, path.name)


def _zipped(path: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    read_bytes(path)  # a regular file of a bearable size
    try:
        with zipfile.ZipFile(path) as archive:
            members = [i for i in archive.infolist() if i.filename.endswith(".json")]
            if sum(member.file_size for member in members) > MAX_FILE_BYTES:
                reading.skip("an archive that is too large")
                return
            for member in sorted(members, key=lambda i: _order(Path(i.filename)))[:_MOST_EVENTS]:
                document = parse(archive.read(member))
                yield from map(mapping, items(document) or [document])
    except _DAMAGED:
        reading.skip("an archive that is damaged")


class _Conversation:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.steps: list[Step] = []
        self.calls: dict[Any, dict[str, Any]] = {}
        self.cwd: str | None = None
        self.ended = False
        self._seen: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        identity = str(event.get("id", ""))[:100]
        if identity and identity in self._seen:
            self.reading.skip("an event that was there before")
            return
        self._seen.add(identity)
        kind = text(event.get("kind"))
        if kind and not self._version_1(kind, event):
            self.reading.skip(f"event {kind!r}")
        elif not kind and not self._version_0(event):
            self.reading.skip(f"event {event.get('action') or event.get('observation')!r}")
        else:
            self.reading.take(kind or text(event.get("action")) or text(event.get("observation")))

    def _version_1(self, kind: str, event: dict[str, Any]) -> bool:
        if kind == "MessageEvent":
            if event.get("source") == "user":
                self._prompt(joined_text(mapping(event.get("llm_message")).get("content")))
            return True
        if kind == "ActionEvent":
            action = mapping(event.get("action"))
            self.ended = self.ended or text(action.get("kind")).startswith("Finish")
            if text(action.get("kind")).startswith((*_TERMINALS, "FileEditor", "StrReplace")):
                self.calls[text(event.get("tool_call_id"))] = action
            return True
        if kind in ("ObservationEvent", "UserRejectObservation", "AgentErrorEvent"):
            action = self.calls.pop(text(event.get("tool_call_id")), {})
            if kind == "ObservationEvent":
                self._observed(action, mapping(event.get("observation")))
            return True
        return kind in ("SystemPromptEvent", "PauseEvent", "ConversationStateUpdateEvent",
                        "Condensation", "TokenEvent")  # fmt: skip

    def _observed(self, action: dict[str, Any], seen: dict[str, Any]) -> None:
        kind = text(action.get("kind"))
        if kind.startswith(_TERMINALS):
            metadata = mapping(seen.get("metadata"))
            code = number(seen.get("exit_code", metadata.get("exit_code")))
            output = joined_text(seen.get("content")) or text(seen.get("output"))
            self._command(text(action.get("command")), output, code, metadata)
        elif kind:
            wrong = seen.get("is_error") is True or bool(text(seen.get("error")))
            self._edited(action, wrong)

    def _version_0(self, event: dict[str, Any]) -> bool:
        action, observation = text(event.get("action")), text(event.get("observation"))
        given, extras = mapping(event.get("args")), mapping(event.get("extras"))
        if action == "message":
            if event.get("source") == "user":
                self._prompt(text(given.get("content")))
        elif action in ("run", "edit", "write"):
            self.calls[event.get("id")] = {**given, "kind": action}
        elif action == "finish":
            self.ended = True
        elif observation == "run":
            made = self.calls.pop(_key(event.get("cause")), {})
            metadata = mapping(extras.get("metadata"))
            code = number(metadata.get("exit_code", extras.get("exit_code")))
            line = text(made.get("command")) or text(extras.get("command"))
            self._command(line, text(event.get("content")), code, metadata)
        elif observation in ("edit", "write"):
            made = self.calls.pop(_key(event.get("cause")), {})
            self._edited(made, text(event.get("content")).startswith("ERROR"))
        elif observation:
            self.calls.pop(_key(event.get("cause")), None)
        return bool(action or observation)

    def _prompt(self, said: str) -> None:
        if said.strip():
            self.steps.append(Prompt(said.strip(), self.cwd))

    def _command(self, line: str, output: str, code: int | None, metadata: dict[str, Any]) -> None:
        self.cwd = self.cwd or text(metadata.get("working_dir")) or None
        if line:
            still_runs = code == -1
            self.steps.append(Command(line, output, "", None if still_runs else code))

    def _edited(self, action: dict[str, Any], wrong: bool) -> None:
        path, command = text(action.get("path")), text(action.get("command"))
        whole = command == "create" or action.get("kind") == "write"
        if wrong:
            self.reading.take("an edit that was not made")
        elif whole:
            said = text(action.get("file_text")) or text(action.get("content"))
            self.steps.append(Edit(path, said, whole=True))
        elif command == "str_replace":
            old = text(action.get("old_str")) or None
            self.steps.append(Edit(path, text(action.get("new_str")), old=old))
        elif command == "insert" or (action.get("kind") == "edit" and not command):
            said = text(action.get("new_str")) or text(action.get("content"))
            self.steps.append(Edit(path, said))


def _key(cause: Any) -> Any:
    return cause if isinstance(cause, int | str) else None


IMPORTER = Importer(
    "openhands", unit_of, recognises, read, (".openhands/conversations", ".openhands/sessions")
)
