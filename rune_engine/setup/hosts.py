"""The editors: where each keeps its configuration, and what Rune puts there.

A host's files, by system:

    claude-code     ~/.claude.json (server), ~/.claude/settings.json (hooks);
                    both in $CLAUDE_CONFIG_DIR where that is set
    claude-desktop  Linux ~/.config/Claude/, macOS ~/Library/Application Support/Claude/
    vscode          Linux ~/.config/Code/User/, macOS ~/Library/Application Support/Code/User/
    cursor          ~/.cursor/mcp.json
    codex           $CODEX_HOME/config.toml, by default ~/.codex/

Within WSL2 the two programs for the terminal are Linux programs like any; the others run on
Windows and have their files there, which this does not touch: it says what to put into them.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rune_engine.errors import NotFoundError
from rune_engine.setup.change import Change, adding, removing
from rune_engine.setup.edits import ClaudeHooks, CodexServer, Edit, JsonServer
from rune_engine.setup.entries import HOOK_EVENTS, HOOK_SECONDS, SERVER, Launch


@dataclass(frozen=True)
class Host:
    """An editor on this machine."""

    name: str
    title: str
    folder: Path
    """There once the editor has been used."""
    program: str
    then: str
    """What to do for the change to take effect."""
    edits: Callable[[Launch], list[tuple[Path, Edit]]]
    on_windows: bool = False
    """Whether it is a program of Windows' that this system, within WSL2, cannot set up."""

    @property
    def is_found(self) -> bool:
        """Whether it looks installed."""
        return self.folder.is_dir() or shutil.which(self.program) is not None

    def additions(self, launch: Launch) -> list[Change]:
        """What setting it up changes.

        Raises:
            InvalidInputError: a file cannot be read; nothing is changed.
            ConflictError: an entry of Rune's name is somebody else's.
            NotFoundError: it runs on Windows, and this is WSL2.
        """
        if self.on_windows:
            raise _belongs_to_windows(self, launch)
        return [adding(path, edit) for path, edit in self.edits(launch)]

    def removals(self, launch: Launch) -> list[Change]:
        """What taking Rune out of it changes.

        Raises:
            InvalidInputError: a file cannot be read; nothing is changed.
        """
        return [removing(path, edit) for path, edit in self.edits(launch)]


def hosts() -> dict[str, Host]:
    """Every editor that Rune can be set up for, by name."""
    home = Path.home()
    wsl = is_wsl()
    known = [
        _claude_code(home),
        _json_host("claude-desktop", "Claude Desktop", _support("Claude"), "claude-desktop", wsl),
        _json_host("vscode", "VS Code", _vscode_folder(), "code", wsl),
        _json_host("cursor", "Cursor", home / ".cursor", "cursor", wsl),
        _codex(home),
    ]
    return {host.name: host for host in known}


def is_wsl() -> bool:
    """Whether this is Linux within Windows."""
    return sys.platform == "linux" and "microsoft" in platform.release().lower()


_NEW_SESSION = (
    "Start a new session. To let sessions be learnt from, run `rune capture allow {}`;"
    " until then they are counted, not read."
)


def _claude_code(home: Path) -> Host:
    named = os.environ.get("CLAUDE_CONFIG_DIR")
    folder = Path(named) if named else home / ".claude"
    servers = (folder if named else home) / ".claude.json"

    def edits(launch: Launch) -> list[tuple[Path, Edit]]:
        commands = {event: launch.hook_command(event) for event in HOOK_EVENTS}
        entry = {"type": "stdio", **launch.entry()}
        return [
            (servers, JsonServer("mcpServers", entry, plain=True)),
            (folder / "settings.json", ClaudeHooks(commands, HOOK_SECONDS)),
        ]

    then = _NEW_SESSION.format("claude-code")
    return Host("claude-code", "Claude Code", folder, "claude", then, edits)


_FILES = {
    "claude-desktop": ("claude_desktop_config.json", "mcpServers", "Quit it and start it again."),
    "vscode": ("mcp.json", "servers", "Start the server from the list of MCP servers."),
    "cursor": ("mcp.json", "mcpServers", "Turn the server on in Settings, MCP."),
}


def _json_host(name: str, title: str, folder: Path, program: str, wsl: bool) -> Host:
    file, key, then = _FILES[name]

    def edits(launch: Launch) -> list[tuple[Path, Edit]]:
        typed = {"type": "stdio"} if name == "vscode" else {}
        edit = JsonServer(key, {**typed, **launch.entry()}, plain=name == "claude-desktop")
        return [(folder / file, edit)]

    return Host(name, title, folder, program, then, edits, on_windows=wsl and not folder.is_dir())


def _codex(home: Path) -> Host:
    folder = Path(os.environ.get("CODEX_HOME") or home / ".codex")

    def edits(launch: Launch) -> list[tuple[Path, Edit]]:
        return [(folder / "config.toml", CodexServer(launch.entry()))]

    return Host("codex", "Codex", folder, "codex", _NEW_SESSION.format("codex"), edits)


def _support(program: str) -> Path:
    """Where desktop programs keep what is theirs."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / program
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / program


def _vscode_folder() -> Path:
    """The stable version's folder, or the Insiders' if that is the only one."""
    stable, insiders = _support("Code"), _support("Code - Insiders")
    chosen = insiders if insiders.is_dir() and not stable.is_dir() else stable
    return chosen / "User"


def _belongs_to_windows(host: Host, launch: Launch) -> NotFoundError:
    distribution = os.environ.get("WSL_DISTRO_NAME", "Ubuntu")
    variables = [f"{name}={value}" for name, value in launch.environment.items()]
    command = [*(["env", *variables] if variables else []), launch.server]
    entry = {"command": "wsl.exe", "args": ["-d", distribution, "--", *command]}
    file, key, _ = _FILES[host.name]
    return NotFoundError(
        f"{host.title} runs on Windows, whose files `rune setup` does not touch from WSL2.",
        next_step=f"Put this into its {file} there: {json.dumps({key: {SERVER: entry}})}",
    )
