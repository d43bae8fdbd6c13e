"""What an editor's configuration has to say to start Rune: the server's entry, and the hooks.

Editors that a person starts from a menu know nothing of a shell's PATH or variables, so paths are
absolute and a home that is not the default one is named. Knows nothing of where it is written.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rune_engine
from rune_engine.errors import NotFoundError

SERVER = "rune"
"""The server's name in every editor."""

HOOK_EVENTS = (
    "SessionStart",
    "UserPromptSubmit",
    "PostToolUse",
    "PostToolUseFailure",
    "Stop",
    "SubagentStop",
    "SessionEnd",
)
"""Claude Code's events that a session is put together from."""

HOOK_SECONDS = 5
"""How long Claude Code waits for a hook; ours takes some 50 ms."""

_SERVER_SCRIPT = "rune-mcp"
_HOOK_SCRIPT = "rune-hook"
_HOOK_FILE = Path(rune_engine.__file__).parent / "capture" / "hook.py"


@dataclass(frozen=True)
class Launch:
    """How this installation is started: absolute paths and the variables that it needs."""

    server: str
    hook: tuple[str, ...] = (sys.executable, "-I", "-S", str(_HOOK_FILE))
    """Not the script `rune-hook`: a Python that reads no packages starts in half the time."""
    environment: dict[str, str] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """The server as every host's file has it."""
        entry: dict[str, Any] = {"command": self.server, "args": []}
        return {**entry, "env": self.environment} if self.environment else entry

    def hook_command(self, event: str) -> str:
        """The shell command of a hook."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*variables, shlex.join(self.hook), event])


def find_launch() -> Launch:
    """This installation's server, and `RUNE_HOME` where it is set.

    Raises:
        NotFoundError: it is not there, or where it is nothing lasts.
    """
    home = os.environ.get("RUNE_HOME")
    environment = {"RUNE_HOME": str(Path(home).expanduser().absolute())} if home else {}
    return Launch(_server_script(), environment=environment)


def is_our_server(entry: Any) -> bool:
    """Whether a host's entry starts Rune, from wherever it is installed."""
    if not isinstance(entry, dict):
        return False
    words = [entry.get("command"), *(entry.get("args") or [])]
    return any(isinstance(word, str) and Path(word).name == _SERVER_SCRIPT for word in words)


def is_our_hook(hook: Any) -> bool:
    """Whether a hook of Claude Code's calls Rune, from wherever it is installed."""
    command = hook.get("command") if isinstance(hook, dict) else None
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return False
    return any(
        Path(word).name == _HOOK_SCRIPT or Path(word).parts[-3:] == _HOOK_FILE.parts[-3:]
        for word in words
    )


def _server_script() -> str:
    name = _SERVER_SCRIPT
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise NotFoundError(
            f"There is no {name} beside {sys.executable}, nor on the PATH.",
            next_step="Install Rune with `uv tool install rune-mcp` or `pip install rune-mcp`.",
        )
    if "archive-v0" in Path(found).parts:
        raise NotFoundError(
            f"{found} is in uv's cache, which may be emptied at any time.",
            next_step="Install it with `uv tool install rune-mcp`, then run `rune setup` again.",
        )
    return str(Path(found).absolute())
