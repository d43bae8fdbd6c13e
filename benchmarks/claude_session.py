"""Plays a Claude Code session: the transcript grows line by line, and every hook is called.

The script of it is one task: a prompt, a file, tests that fail, an edit, tests that pass. No model
is asked for anything. Used by the benchmark and by the tests of live capture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HOOK = Path(__file__).resolve().parents[1] / "rune_engine" / "capture" / "hook.py"
WRONG = "def double(number):\n    return number + number + 1\n"
RIGHT = "def double(number):\n    return number * 2\n"
TESTS = "python -m pytest -q"


class PlayedSession:
    """One session in `cwd`, whose transcript is below `projects`.

    Args:
        rune_home: for the hooks; None calls none.
        pause: seconds between two lines.
    """

    def __init__(
        self, projects: Path, cwd: Path, rune_home: Path | None, *, pause: float = 0.0
    ) -> None:
        self.id = str(uuid.uuid4())
        self.cwd = cwd
        folder = projects / str(cwd).replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        self.transcript = folder / f"{self.id}.jsonl"
        self.exit_codes: list[int] = []
        self._home = rune_home
        self._pause = pause
        self._last: str | None = None

    def play(self, prompt: str = "Write double(number), and test it.") -> None:
        """The whole session, to its end."""
        self.begin(prompt)
        self.end()

    def begin(self, prompt: str) -> None:
        """All of the session but its end."""
        path = str(self.cwd / "double.py")
        self.hook("SessionStart", source="startup")
        self.hook("UserPromptSubmit", prompt=prompt)
        self._line("user", {"role": "user", "content": prompt})
        self._tool("Write", {"file_path": path, "content": WRONG}, "File created", {})
        self._tool("Bash", {"command": TESTS}, "Exit code 1\n1 failed in 0.01s", None)
        edit = {"file_path": path, "old_string": "number + number + 1", "new_string": "number * 2"}
        self._tool("Edit", edit, "The file has been updated.", {})
        passed = {"stdout": "1 passed in 0.01s", "stderr": "", "interrupted": False}
        self._tool("Bash", {"command": TESTS}, passed["stdout"], passed)
        done = [{"type": "text", "text": "Done: double works, and its test passes."}]
        self._line("assistant", {"role": "assistant", "content": done})
        self.hook("Stop", stop_hook_active=False)

    def end(self) -> None:
        """The session is closed."""
        self.hook("SessionEnd", reason="prompt_input_exit")

    def _tool(self, name: str, given: Mapping[str, Any], said: str, result: Any) -> None:
        """A call, its answer and its hook; a result of None is a failure."""
        call = f"toolu_{uuid.uuid4().hex[:20]}"
        use = {"type": "tool_use", "id": call, "name": name, "input": given}
        self._line("assistant", {"role": "assistant", "content": [use]})
        answer = {"type": "tool_result", "tool_use_id": call, "content": said}
        if result is None:
            answer["is_error"] = True
            self.hook("PostToolUseFailure", tool_name=name, tool_input=given, error=said)
        else:
            self.hook("PostToolUse", tool_name=name, tool_input=given, tool_response=result)
        told = f"Error: {said}" if result is None else result
        self._line("user", {"role": "user", "content": [answer]}, toolUseResult=told)

    def _line(self, kind: str, message: dict[str, Any], **more: Any) -> None:
        """A record, in two writes: somebody may read between them."""
        record = {
            "parentUuid": self._last,
            "isSidechain": False,
            "userType": "external",
            "cwd": str(self.cwd),
            "sessionId": self.id,
            "version": "2.1.200",
            "type": kind,
            "message": message,
            "uuid": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **more,
        }
        self._last = record["uuid"]
        text = json.dumps(record) + "\n"
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            with self.transcript.open("a", encoding="utf-8") as file:
                file.write(part)
        time.sleep(self._pause)

    def hook(self, event: str, **payload: Any) -> None:
        """Call a hook as the host does; its exit code is kept."""
        if self._home is None:
            return
        given = {
            "session_id": self.id,
            "transcript_path": str(self.transcript),
            "cwd": str(self.cwd),
            "permission_mode": "default",
            "hook_event_name": event,
            **payload,
        }
        ran = subprocess.run(
            [sys.executable, "-I", "-S", str(HOOK)],
            input=json.dumps(given).encode(),
            capture_output=True,
            env={**os.environ, "RUNE_HOME": str(self._home)},
            check=False,
            timeout=60,
        )
        self.exit_codes.append(ran.returncode)
        if ran.stdout or ran.stderr:
            raise RuntimeError(f"a hook said something: {ran.stdout!r} {ran.stderr!r}")
