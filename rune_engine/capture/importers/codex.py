"""Codex' rollouts: `~/.codex/sessions/YYYY/MM/DD/rollout-<time>-<session>.jsonl`.

Two logs in one file: what the model saw (`response_item`) and what the terminal showed
(`event_msg`). A command's end in the second is exact and wins over its mirror in the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rune_engine.capture.fields import items, joined_text, mapping, number, text
from rune_engine.capture.files import json_lines, parse
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.shell import patch_edits
from rune_engine.capture.steps import Command, Prompt, Reading, Session, Step

_SHELLS = frozenset({"shell", "exec_command", "shell_command", "container.exec", "local_shell"})
_SCAFFOLDING = (
    "<environment_context>", "<user_instructions>", "<permissions", "<turn_aborted>", "<skill>",
    "# AGENTS.md instructions", "<INSTRUCTIONS>", "<collaboration_mode>",
)  # fmt: skip
_EXIT = re.compile(r"(?:Exit code:|Process exited with code) (-?\d{1,9})")
_OUTPUT = re.compile(
    r"\A(?:(?:Exit code|Wall time|Chunk ID|Process|Original token|Total output)[^\n]*\n)+Output:\n"
)


def unit_of(path: Path) -> Path | None:
    named = path.name.startswith("rollout-") and path.suffix == ".jsonl"
    return path if named else None


def recognises(path: Path, head: bytes) -> bool:
    return path.suffix == ".jsonl" and (
        path.name.startswith("rollout-") or b'"session_meta"' in head[:2000]
    )


def read(path: Path) -> Reading:
    """The session of a rollout. Raises InvalidInputError."""
    rollout = _Rollout(Reading(), re.sub(r"^rollout-[\dT-]{20}", "", path.stem))
    for record in json_lines(path, rollout.reading):
        rollout.take(record)
    rollout.reading.sessions.append(rollout.session())
    return rollout.reading


@dataclass
class _Rollout:
    reading: Reading
    id: str
    cwd: str | None = None
    turn_cwd: str | None = None
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    steps: list[tuple[str, Step]] = field(default_factory=list)
    prompts: set[str] = field(default_factory=set)

    def session(self) -> Session:
        steps = tuple(step for _, step in self.steps)
        return Session("codex", self.id, steps, self.cwd, waiting=bool(self.calls))

    def take(self, record: dict[str, Any]) -> None:
        kind, payload = text(record.get("type")), mapping(record.get("payload"))
        if kind in ("message", "function_call", "function_call_output"):  # before envelopes
            kind, payload = "response_item", record
        known: dict[str, Callable[[dict[str, Any]], bool]] = {
            "session_meta": self._meta,
            "turn_context": self._turn,
            "response_item": self._item,
            "event_msg": self._event,
        }
        inner = text(payload.get("type"))
        if known.get(kind, _unknown)(payload):
            self.reading.take(f"{kind} {inner}".strip())
        else:
            self.reading.skip(f"record {kind} {inner}".strip())

    def _meta(self, payload: dict[str, Any]) -> bool:
        self.id = text(payload.get("id")) or self.id
        self.cwd = self.turn_cwd = text(payload.get("cwd")) or self.cwd
        return True

    def _turn(self, payload: dict[str, Any]) -> bool:
        self.turn_cwd = text(payload.get("cwd")) or self.turn_cwd
        return True

    def _item(self, payload: dict[str, Any]) -> bool:
        kind, call = text(payload.get("type")), text(payload.get("call_id"))
        if kind == "message":
            if payload.get("role") == "user":
                self._prompt(joined_text(payload.get("content")))
            return True
        if kind in ("function_call", "custom_tool_call", "local_shell_call"):
            if call and call not in self.done:
                self.calls[call] = payload
            return True
        if kind in ("function_call_output", "custom_tool_call_output"):
            self._output(call, payload.get("output"))
            return True
        return kind in ("reasoning", "web_search_call", "ghost_snapshot")

    def _event(self, payload: dict[str, Any]) -> bool:
        kind, call = text(payload.get("type")), text(payload.get("call_id"))
        if kind == "user_message":
            self._prompt(text(payload.get("message")))
        elif kind == "exec_command_end":
            self._ended(call, payload)
        elif kind == "patch_apply_end" and payload.get("success") is False:
            self._patched(call, applied=False)
        return kind in (
            "user_message", "exec_command_end", "patch_apply_end", "agent_message", "token_count",
            "agent_reasoning", "task_started", "task_complete", "turn_aborted",
            "exec_command_begin", "patch_apply_begin",
        )  # fmt: skip

    def _prompt(self, said: str) -> None:
        """A prompt stands in both logs, right after another."""
        said = said.strip()
        if not said or said.startswith(_SCAFFOLDING):
            return
        last = self.steps[-1][1] if self.steps else None
        if not (isinstance(last, Prompt) and last.text == said):
            self.steps.append(("", Prompt(said, self.turn_cwd)))

    def _ended(self, call: str, payload: dict[str, Any]) -> None:
        made = self.calls.pop(call, {})
        line = _command_line(made) or _line(payload.get("command"))
        merged = text(payload.get("aggregated_output"))
        out, err = text(payload.get("stdout")), text(payload.get("stderr"))
        exact = Command(
            line, merged or out, "" if merged else err, number(payload.get("exit_code"))
        )
        for place, (of, step) in enumerate(self.steps):
            if of == call and call and isinstance(step, Command):
                self.steps[place] = (call, exact)  # its mirror came first
                return
        self.done.add(call)
        self.steps.append((call, exact))

    def _output(self, call: str, output: Any) -> None:
        made = self.calls.pop(call, None)
        if made is None or call in self.done:
            return
        name = text(made.get("name"))
        said = joined_text(output) or text(mapping(output).get("content"))
        packed = mapping(parse(said)) if said.startswith("{") else {}
        code = number(mapping(packed.get("metadata")).get("exit_code"))
        plain = text(packed.get("output")) if packed else _OUTPUT.sub("", said, count=1)
        if code is None and (found := _EXIT.search(said[:2000])):
            code = int(found[1])
        self.done.add(call)
        if name == "apply_patch":
            if code in (0, None) and not plain.startswith(("error", "apply_patch verification")):
                self._apply(text(made.get("input")) or _patch_of(made))
            else:
                self.reading.take("an edit that was not made")
        elif name in _SHELLS or made.get("type") == "local_shell_call":
            self.steps.append((call, Command(_command_line(made), plain, "", code)))

    def _patched(self, call: str, *, applied: bool) -> None:
        if not applied and self.calls.pop(call, None) is not None:
            self.done.add(call)
            self.reading.take("an edit that was not made")

    def _apply(self, patch: str) -> None:
        self.steps += [("", edit) for edit in patch_edits(patch)]


def _command_line(call: dict[str, Any]) -> str:
    given = mapping(parse(text(call.get("arguments")))) or mapping(call.get("action"))
    return _line(given.get("command", given.get("cmd")))


def _line(command: Any) -> str:
    """An argument vector as a line; `bash -lc LINE` is the line itself."""
    if isinstance(command, str):
        return command
    words = [text(word) for word in items(command)]
    if len(words) >= 3 and words[0].rsplit("/", 1)[-1] in ("bash", "sh", "zsh"):
        return words[2]
    if words[:1] == ["apply_patch"] and len(words) == 2:
        return f"apply_patch <<'EOF'\n{words[1]}\nEOF"
    return " ".join(words)


def _patch_of(call: dict[str, Any]) -> str:
    given = mapping(parse(text(call.get("arguments"))))
    return text(given.get("input")) or text(given.get("patch"))


def _unknown(_payload: dict[str, Any]) -> bool:
    return False


IMPORTER = Importer("codex", unit_of, recognises, read, (".codex/sessions",))
