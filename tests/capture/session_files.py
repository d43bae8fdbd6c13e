"""The same small session as each agent would write it: double(number), wrong and then right.

Written from the formats' documentation; no agent was run for them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rune_engine.capture.importers.inbox import SCHEMA

PROMPT = "Write double(number), and test it."
WRONG = "def double(number):\n    return number + number + 1\n"
OLD, NEW = "number + number + 1", "number * 2"
RIGHT = "def double(number):\n    return number * 2\n"
TESTS = "python -m pytest -q"
FAILED, PASSED = "1 failed in 0.01s", "1 passed in 0.01s"
PATH = "/work/calc/double.py"
CWD = "/work/calc"

Record = dict[str, Any]


def _lines(path: Path, records: list[Record]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def _document(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


def claude_code(folder: Path) -> Path:
    calls: list[tuple[str, Record, Record]] = [
        ("Write", {"file_path": PATH, "content": WRONG}, {"content": "File created"}),
        ("Bash", {"command": TESTS}, {"content": f"Exit code 1\n{FAILED}", "is_error": True}),
        ("Edit", {"file_path": PATH, "old_string": OLD, "new_string": NEW}, {"content": "Updated"}),
        ("Bash", {"command": TESTS}, {"content": [{"type": "text", "text": PASSED}]}),
    ]
    records: list[Record] = [
        {"type": "summary", "summary": "Doubling", "leafUuid": "x"},
        _claude("u0", "user", {"role": "user", "content": PROMPT}),
    ]
    for number, (name, given, answer) in enumerate(calls):
        use = {"type": "tool_use", "id": f"t{number}", "name": name, "input": given}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", **answer}
        records.append(_claude(f"a{number}", "assistant", {"role": "assistant", "content": [use]}))
        records.append(_claude(f"r{number}", "user", {"role": "user", "content": [result]}))
    return _lines(folder / "projects" / "-work-calc" / "5e55101e.jsonl", records)


def _claude(uuid: str, kind: str, message: Record) -> Record:
    return {
        "type": kind, "uuid": uuid, "sessionId": "5e55101e", "cwd": CWD, "message": message,
        "timestamp": "2026-01-01T10:00:00.000Z",
    }  # fmt: skip


def codex(folder: Path) -> Path:
    def item(payload: Record) -> Record:
        return {"timestamp": "2026-01-01T10:00:00Z", "type": "response_item", "payload": payload}

    def event(payload: Record) -> Record:
        return {"timestamp": "2026-01-01T10:00:00Z", "type": "event_msg", "payload": payload}

    def shell(call: str) -> Record:
        arguments = json.dumps({"command": ["bash", "-lc", TESTS]})
        made = {"type": "function_call", "name": "shell", "call_id": call, "arguments": arguments}
        return item(made)

    def patch(call: str, text: str) -> list[Record]:
        made = {"type": "custom_tool_call", "name": "apply_patch", "call_id": call, "input": text}
        answer = json.dumps({"output": "Success.", "metadata": {"exit_code": 0}})
        done = {"type": "custom_tool_call_output", "call_id": call, "output": answer}
        return [item(made), item(done)]

    added = "".join(f"+{line}\n" for line in WRONG.splitlines())
    text = [{"type": "input_text", "text": PROMPT}]
    folded = json.dumps({"output": FAILED, "metadata": {"exit_code": 1}})
    records = [
        {"type": "session_meta", "payload": {"id": "0199-c0de", "cwd": CWD, "cli_version": "1"}},
        item({"type": "message", "role": "user", "content": text}),
        event({"type": "user_message", "message": PROMPT}),
        *patch("c0", f"*** Begin Patch\n*** Add File: {PATH}\n{added}*** End Patch"),
        shell("c1"),
        item({"type": "function_call_output", "call_id": "c1", "output": folded}),
        *patch(
            "c2",
            f"*** Begin Patch\n*** Update File: {PATH}\n@@\n def double(number):\n"
            f"-    return {OLD}\n+    return {NEW}\n*** End Patch",
        ),
        shell("c3"),
        event({"type": "exec_command_end", "call_id": "c3", "aggregated_output": PASSED,
               "exit_code": 0}),
        item({"type": "function_call_output", "call_id": "c3", "output": PASSED}),
        event({"type": "task_complete"}),
    ]  # fmt: skip
    name = "rollout-2026-01-01T10-00-00-0199-c0de.jsonl"
    return _lines(folder / "sessions" / "2026" / "01" / "01" / name, records)


def swe_agent(folder: Path) -> Path:
    state = {"open_file": PATH, "working_dir": CWD}
    steps = [
        ("create double.py", "[File: double.py (1 lines total)]\n1:"),
        (f"edit 1:1\n{WRONG}end_of_edit", "[File: double.py]\nFile updated."),
        (TESTS, FAILED),
        (f"edit '{OLD}' '{NEW}'", "Text replaced."),
        (TESTS, PASSED),
        ("submit", "diff --git a/double.py b/double.py"),
    ]
    trajectory = [
        {"action": a, "observation": o, "thought": "", "response": "", "state": state}
        for a, o in steps
    ]
    issue = f"We're solving an issue.\nISSUE:\n{PROMPT}\n\nINSTRUCTIONS:\nNow, ..."
    history = [{"role": "system", "content": "SETTING"}, {"role": "user", "content": issue}]
    info = {"exit_status": "submitted", "submission": "diff"}
    run = {"environment": "main", "trajectory": trajectory, "history": history, "info": info}
    return _document(folder / "trajectories" / "calc-1.traj", run)


def mini_swe_agent(folder: Path) -> Path:
    commands = [
        (f"cat <<'EOF' > double.py\n{WRONG}EOF", "", 0),
        (TESTS, FAILED, 1),
        (f"cat <<'EOF' > double.py\n{RIGHT}EOF", "", 0),
        (TESTS, PASSED, 0),
        ("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", "", 0),
    ]
    messages: list[Record] = [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": f"Please solve this issue: {PROMPT}\n\nYou can execute bash "
         "commands and edit files to implement the necessary changes."},
    ]  # fmt: skip
    for command, output, code in commands:
        said = f"Next.\n\n```mswea_bash_command\n{command}\n```"
        extra = {"actions": [{"command": command}]}
        messages.append({"role": "assistant", "content": said, "extra": extra})
        told = f"<returncode>{code}</returncode>\n<output>\n{output}\n</output>"
        messages.append({"role": "user", "content": told, "extra": {"returncode": code}})
    info = {"config": {"environment": {"cwd": CWD}}, "exit_status": "Submitted"}
    run = {"info": info, "messages": messages, "trajectory_format": "mini-swe-agent-1.1"}
    return _document(folder / "calc-1.traj.json", run)


def aider(folder: Path) -> Path:
    """With a repository whose commits are what aider made."""
    folder = folder / "aider"
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True, timeout=60)
    first, second = _commit(folder, WRONG), _commit(folder, RIGHT)
    chat = f"""
# aider chat started at 2026-01-01 10:00:00

> aider --model sonnet
> Git repo: .git with 0 files

#### {PROMPT}

Here it is.

> Applied edit to double.py
> Commit {first} feat: Add double

#### I ran this command:
####
#### {TESTS}
####
#### And got this output:
####
#### {FAILED}

The sum is one too large.

> Applied edit to double.py
> Commit {second} fix: Double without one more

#### I ran this command:
####
#### {TESTS}
####
#### And got this output:
####
#### {PASSED}

Good.
"""
    (folder / ".aider.chat.history.md").write_text(chat, encoding="utf-8")
    return folder / ".aider.chat.history.md"


def _commit(folder: Path, text: str) -> str:
    (folder / "double.py").write_text(text, encoding="utf-8")
    author = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for arguments in (["add", "double.py"], [*author, "commit", "--quiet", "-m", "change"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True, timeout=60)
    said = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return said.stdout.strip()


def continue_dev(folder: Path) -> Path:
    def event(name: str, second: int, **fields: Any) -> Record:
        return {"eventName": name, "schema": "0.2.0", "timestamp": f"2026-01-01T10:00:{second:02}Z",
                **fields}  # fmt: skip

    def tool(second: int, name: str, given: Record, output: str, **more: Any) -> Record:
        status = "Command completed" if output == PASSED else "Command failed with exit code 1"
        shown = [{"name": "Terminal", "content": output, "status": status}]
        return event(
            "toolUsage", second, toolCallId=f"t{second}", functionName=name, functionParams=given,
            output=shown, accepted=True, **{"succeeded": True, **more},
        )  # fmt: skip

    version = folder / "dev_data" / "0.2.0"
    chat = event("chatInteraction", 0, prompt=PROMPT, completion="Sure.", sessionId="c047")
    _lines(version / "chatInteraction.jsonl", [chat])
    edit = {"file_path": PATH, "old_string": OLD, "new_string": NEW}
    tools = [
        tool(1, "create_new_file", {"filepath": PATH, "contents": WRONG}, "done"),
        tool(2, "run_terminal_command", {"command": TESTS}, FAILED),
        tool(3, "single_find_and_replace", edit, "done"),
        tool(4, "run_terminal_command", {"command": TESTS}, PASSED),
    ]
    _lines(version / "toolUsage.jsonl", tools)
    return version


def cline(folder: Path, tasks: str = "saoudrizwan.claude-dev") -> Path:
    details = f"<environment_details>\n# Current Working Directory ({CWD}) Files"
    calls = [
        ("write_to_file", f"<path>double.py</path>\n<content>\n{WRONG}\n</content>",
         "for 'double.py'", "The content was successfully saved to double.py."),
        ("execute_command", f"<command>{TESTS}</command>",
         f"for '{TESTS}'", f"Command executed with exit code 1.\nOutput:\n{FAILED}"),
        ("replace_in_file", "<path>double.py</path>\n<diff>\n------- SEARCH\n    return "
         f"{OLD}\n=======\n    return {NEW}\n+++++++ REPLACE\n</diff>",
         "for 'double.py'", "The content was successfully saved."),
        ("execute_command", f"<command>{TESTS}</command>",
         f"for '{TESTS}'", f"Command executed with exit code 0.\nOutput:\n{PASSED}"),
    ]  # fmt: skip
    blocks = [{"type": "text", "text": f"<task>\n{PROMPT}\n</task>"}, _text(details)]
    messages: list[Record] = [{"role": "user", "content": blocks}]
    for name, body, what, result in calls:
        messages.append(
            {"role": "assistant", "content": [_text(f"Next.\n<{name}>\n{body}\n</{name}>")]}
        )
        told = [_text(f"[{name} {what}] Result:"), _text(result), _text(details)]
        messages.append({"role": "user", "content": told})
    path = folder / tasks / "tasks" / "1700000000000" / "api_conversation_history.json"
    return _document(path, messages)


def _text(text: str) -> Record:
    return {"type": "text", "text": text}


def roo(folder: Path) -> Path:
    """As Cline, with tools called as blocks."""
    ran = f"Command executed in terminal within working directory '{CWD}'."
    calls: list[tuple[str, Record, str]] = [
        ("write_to_file", {"path": "double.py", "content": WRONG}, "saved"),
        (
            "execute_command",
            {"command": TESTS},
            f"{ran} Exit code: 1\nOutput:\n{FAILED}",
        ),
        ("search_and_replace", {"path": "double.py", "search": OLD, "replace": NEW}, "saved"),
        ("execute_command", {"command": TESTS}, f"{ran} Exit code: 0\nOutput:\n{PASSED}"),
    ]
    opening = f"<task>\n{PROMPT}\n</task>\n# Current Workspace Directory ({CWD}) Files"
    messages: list[Record] = [{"role": "user", "content": [_text(opening)]}]
    for number, (name, given, result) in enumerate(calls):
        use = {"type": "tool_use", "id": f"t{number}", "name": name, "input": given}
        answer = {"type": "tool_result", "tool_use_id": f"t{number}", "content": result}
        messages.append({"role": "assistant", "content": [use]})
        messages.append({"role": "user", "content": [answer]})
    below = folder / "rooveterinaryinc.roo-cline" / "tasks" / "0199"
    return _document(below / "api_conversation_history.json", messages)


def openhands(folder: Path) -> Path:
    def pair(number: int, action: Record, observation: Record) -> list[Record]:
        call = f"call-{number}"
        return [
            {"kind": "ActionEvent", "source": "agent", "tool_call_id": call, "action": action},
            {"kind": "ObservationEvent", "source": "environment", "tool_call_id": call,
             "observation": observation},
        ]  # fmt: skip

    def ran(output: str, code: int) -> Record:
        metadata = {"exit_code": code, "working_dir": CWD}
        return {"kind": "TerminalObservation", "content": [_text(output)], "exit_code": code,
                "metadata": metadata}  # fmt: skip

    run = {"kind": "TerminalAction", "command": TESTS}
    edited = {"kind": "FileEditorObservation", "is_error": False}
    editor = {"kind": "FileEditorAction", "path": PATH}
    message = {"role": "user", "content": [_text(PROMPT)]}
    events = [
        {"kind": "SystemPromptEvent", "source": "agent"},
        {"kind": "MessageEvent", "source": "user", "llm_message": message},
        *pair(1, {**editor, "command": "create", "file_text": WRONG}, edited),
        *pair(2, run, ran(FAILED, 1)),
        *pair(3, {**editor, "command": "str_replace", "old_str": OLD, "new_str": NEW}, edited),
        *pair(4, run, ran(PASSED, 0)),
        *pair(5, {"kind": "FinishAction", "message": "Done"}, {"kind": "FinishObservation"}),
    ]
    below = folder / "conversations" / "c0ffee" / "events"
    for number, event in enumerate(events):
        _document(below / f"event-{number:05}-e{number}.json", {"id": f"e{number}", **event})
    return below


def inbox(folder: Path) -> Path:
    session = {
        "schema": SCHEMA,
        "agent": "my-agent",
        "session_id": "s-1",
        "cwd": CWD,
        "steps": [
            {"type": "prompt", "text": PROMPT},
            {"type": "edit", "path": "double.py", "new": WRONG},
            {"type": "command", "command": TESTS, "stdout": FAILED, "exit_code": 1},
            {"type": "edit", "path": "double.py", "new": NEW, "old": OLD},
            {"type": "command", "command": TESTS, "stdout": PASSED, "exit_code": 0},
        ],
    }
    return _document(folder / "inbox" / "session.json", session)


def claude_hooks(folder: Path) -> Path:
    events: list[Record] = [
        {"hook_event_name": "SessionStart", "source": "startup"},
        {"hook_event_name": "UserPromptSubmit", "prompt": PROMPT},
        {"hook_event_name": "PostToolUse", "tool_name": "Write",
         "tool_input": {"file_path": PATH, "content": WRONG}, "tool_response": {}},
        {"hook_event_name": "PostToolUseFailure", "tool_name": "Bash",
         "tool_input": {"command": TESTS}, "error": f"Exit code 1\n{FAILED}"},
        {"hook_event_name": "PostToolUse", "tool_name": "Edit",
         "tool_input": {"file_path": PATH, "old_string": OLD, "new_string": NEW},
         "tool_response": {}},
        {"hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_input": {"command": TESTS},
         "tool_response": {"stdout": PASSED, "stderr": "", "interrupted": False}},
        {"hook_event_name": "Stop"},
        {"hook_event_name": "SessionEnd", "reason": "other"},
    ]  # fmt: skip
    named = [{"session_id": "5e55101e", "cwd": CWD, **event} for event in events]
    return _lines(folder / "hooks" / "5e55101e.jsonl", named)


AGENTS: dict[str, Callable[[Path], Path]] = {
    "claude-code": claude_code,
    "codex": codex,
    "swe-agent": swe_agent,
    "mini-swe-agent": mini_swe_agent,
    "aider": aider,
    "continue": continue_dev,
    "cline": cline,
    "roo": roo,
    "openhands": openhands,
    "inbox": inbox,
}
"""Writes a session of each agent into a folder, and says what to read."""
WITHOUT_EXIT_CODES = frozenset({"swe-agent", "aider"})
