"""Claude Code's transcripts: `~/.claude/projects/<folder>/<session>.jsonl`, and its web export.

One record a line: prompts, the model's tool calls, and what the tools answered. The format is
Claude Code's own and may change: what is not known is counted and passed over. A subagent's
records, in the file or in `<session>/subagents/`, belong to the turn in which they happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rune_engine.capture.fields import items, joined_text, mapping, text
from rune_engine.capture.files import json_document, json_lines
from rune_engine.capture.importers import claude_tools
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Prompt, Reading, Session, Step

_SILENT = frozenset(
    {"summary", "system", "custom-title", "ai-title", "attachment", "file-history-snapshot",
     "queue-operation", "mode", "progress", "permission-mode", "last-prompt", "agent-name"}
)  # fmt: skip
_NO_PROMPT = ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly", "isSidechain")
_NO_PROMPTS = (
    "<command-", "<local-command-", "<bash-", "<task-notification", "Caveat: The messages below",
    "[Request interrupted", "<system-reminder>",
)  # fmt: skip


def unit_of(path: Path) -> Path | None:
    if path.suffix != ".jsonl":
        return None
    if path.parent.name == "subagents":
        return path.parent.parent.with_suffix(".jsonl")
    return None if path.name.startswith(("agent-", "rollout-", ".")) else path


def recognises(path: Path, head: bytes) -> bool:
    if path.suffix == ".json":
        return b'"loglines"' in head
    return path.suffix == ".jsonl" and b'"sessionId"' in head and b'"eventName"' not in head


def read(path: Path) -> Reading:
    """The session of a transcript. Raises InvalidInputError."""
    reading = Reading()
    transcript = _Transcript(reading)
    for record in _records(path, reading):
        transcript.take(record)
    session_id = transcript.session_id or path.stem
    reading.sessions.append(
        Session(
            agent="claude-code",
            id=session_id,
            steps=tuple(transcript.steps),
            cwd=transcript.cwd,
            waiting=bool(transcript.calls),
        )
    )
    return reading


def _records(path: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    if path.suffix == ".json":
        document, _ = json_document(path, reading)
        yield from map(mapping, items(mapping(document).get("loglines")))
        return
    beside = sorted((path.with_suffix("") / "subagents").glob("*.jsonl"))
    if not beside:
        yield from json_lines(path, reading)
        return
    files: list[Iterable[dict[str, Any]]] = [json_lines(path, reading)]
    files += [({**r, "isSidechain": True} for r in json_lines(file, reading)) for file in beside]
    yield from sorted(
        (record for file in files for record in _stamped(file)),
        key=lambda record: text(record.get("timestamp")),
    )


def _stamped(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records, those without a time at that of the one before."""
    last = ""
    for record in records:
        last = text(record.get("timestamp")) or last
        yield {**record, "timestamp": last}


class _Transcript:
    """What has been read of one transcript so far."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.steps: list[Step] = []
        self.calls: dict[str, tuple[str, dict[str, Any]]] = {}
        self.session_id = ""
        self.cwd: str | None = None
        self._cwd: str | None = None
        self._seen: set[str] = set()

    def take(self, record: dict[str, Any]) -> None:
        uuid = text(record.get("uuid"))
        if uuid and uuid in self._seen:
            self.reading.skip("a record that was there before")
            return
        self._seen.add(uuid)
        self._cwd = text(record.get("cwd")) or self._cwd
        self.cwd = self.cwd or self._cwd
        if record.get("isSidechain") is not True:
            self.session_id = text(record.get("sessionId")) or self.session_id
        kind = text(record.get("type"))
        if kind == "assistant":
            self._assistant(record)
        elif kind == "user":
            self._user(record)
        elif kind in _SILENT:
            self.reading.take(kind)
        else:
            self.reading.skip(f"record {kind!r}")

    def _assistant(self, record: dict[str, Any]) -> None:
        self.reading.take("assistant")
        for block in map(mapping, items(mapping(record.get("message")).get("content"))):
            if block.get("type") == "tool_use" and text(block.get("id")):
                name, given = text(block.get("name")), mapping(block.get("input"))
                self.calls[text(block.get("id"))] = (name, given)

    def _user(self, record: dict[str, Any]) -> None:
        self.reading.take("user")
        content = mapping(record.get("message")).get("content")
        for block in map(mapping, items(content)):
            if block.get("type") == "tool_result":
                self._result(block, record)
        said = joined_text(content).strip()
        if not said or any(record.get(name) is True for name in _NO_PROMPT):
            return
        if said.startswith(_NO_PROMPTS):
            self.reading.take("a host's own message")
            return
        self.steps.append(Prompt(said, self._cwd))

    def _result(self, block: dict[str, Any], record: dict[str, Any]) -> None:
        call = self.calls.pop(text(block.get("tool_use_id")), None)
        if call is None:
            self.reading.skip("an answer to no call")
            return
        name, given = call
        said = joined_text(block.get("content"))
        wrong = block.get("is_error") is True
        if name in claude_tools.SHELLS:
            command = (
                claude_tools.failed(given, said)
                if wrong
                else claude_tools.answered(given, said, record.get("toolUseResult"))
            )
            if command is None:
                self.reading.take("a command that was not run")
            else:
                self.steps.append(command)
        elif name in claude_tools.EDITORS:
            if wrong:
                self.reading.take("an edit that was not made")
            else:
                self.steps += claude_tools.edits(name, given)
        else:
            self.reading.take(f"tool {name}")


IMPORTER = Importer("claude-code", unit_of, recognises, read, (".claude/projects",))
