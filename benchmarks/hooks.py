"""How long each of Claude Code's hooks takes, beside an interpreter that does nothing.

    python -m benchmarks.hooks [--runs 30] [--json FILE]

Each hook is a process of its own, as its host starts it; the bare one is `python -I -S -c pass`.
All are run in turn, so that a busy machine slows them alike. With the source allowed, so that the
whole event is written, and the engine's lock held, as it is while an engine runs.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.claude_session import HOOK

OUTPUT = "".join(f"tests/test_{number}.py ....                [ 10%]\n" for number in range(200))
EVENTS: dict[str, dict[str, Any]] = {
    "SessionStart": {"source": "startup"},
    "UserPromptSubmit": {"prompt": "Fix the rounding of prices. " * 20},
    "PostToolUse": {
        "tool_name": "Bash",
        "tool_input": {"command": "pytest -q"},
        "tool_response": {"stdout": OUTPUT, "stderr": "", "interrupted": False},
    },
    "PostToolUseFailure": {
        "tool_name": "Bash",
        "tool_input": {"command": "pytest -q"},
        "error": f"Exit code 1\n{OUTPUT}",
    },
    "Stop": {"stop_hook_active": False, "last_assistant_message": "Done. " * 100},
    "SubagentStop": {"agent_transcript_path": "/nowhere/agent.jsonl"},
    "SessionEnd": {"reason": "other"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        prepare(home)
        with (home / "engine.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            figures = measure(home, asked.runs)
    for name, (median, cpu) in figures.items():
        ratio = median / figures["bare"][0]
        print(f"{name:20} {median * 1000:7.1f} ms  {cpu * 1000:6.1f} ms of a core  {ratio:5.2f} x")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def prepare(home: Path) -> None:
    """A home in which the source is allowed, with nothing to start."""
    (home / "hooks").mkdir()
    allowed = {"command": ["/bin/false"], "environment": {}}
    (home / "hooks" / ".claude-code.allowed").write_text(json.dumps(allowed), encoding="utf-8")


def measure(home: Path, runs: int) -> dict[str, tuple[float, float]]:
    """By hook: the median of the seconds it took, and of the processor's seconds."""
    bare = [sys.executable, "-I", "-S", "-c", "pass"]
    hook = [sys.executable, "-I", "-S", str(HOOK)]
    taken: dict[str, list[tuple[float, float]]] = {"bare": [], **{name: [] for name in EVENTS}}
    for _ in range(runs):
        taken["bare"].append(once(bare, b"", home))
        for name, payload in EVENTS.items():
            event = {
                "session_id": "0b7c9f1e-measured",
                "transcript_path": str(home / "transcript.jsonl"),
                "cwd": str(home),
                "hook_event_name": name,
                **payload,
            }
            taken[name].append(once(hook, json.dumps(event).encode(), home))
    return {
        name: (statistics.median(s for s, _ in each), statistics.median(c for _, c in each))
        for name, each in taken.items()
    }


def once(command: list[str], given: bytes, home: Path) -> tuple[float, float]:
    """Seconds, and processor's seconds, of one process from its start to its end."""
    environment = {**os.environ, "RUNE_HOME": str(home)}
    before = _children()
    began = time.perf_counter()
    subprocess.run(command, input=given, env=environment, check=True)
    return time.perf_counter() - began, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
