"""From the end of a live session until its trajectory is there, while eight MCP servers run.

    python -m benchmarks.live_capture [--sessions 3] [--servers 8] [--json FILE]

Each session is played (benchmarks/claude_session.py) in a worktree of a repository of its own:
hooks called, the transcript growing line by line. Measured are the seconds from its last hook until
the trajectory is stored, with the project of the repository. Then the same without hooks: a session
that never says its end has ended when it has been still for long.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.claude_session import PlayedSession
from benchmarks.mcp_startup import session as mcp_session
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_engine.projects import identify

_WAIT_SECONDS = 120.0
QUIET_SECONDS = 3.0
"""For the sessions without hooks; the default is longer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--servers", type=int, default=8)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), asked.sessions, asked.servers)
    print(json.dumps(figures, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(folder: Path, sessions: int, servers: int) -> dict[str, Any]:
    """The figures of so many sessions, with and without hooks."""
    config = _home(folder)
    environment = {**os.environ, "RUNE_HOME": str(config.home)}
    figures: dict[str, Any] = {"servers": servers, "with_hooks": [], "without_hooks": []}
    with ExitStack() as stack:
        command = [sys.executable, "-m", "rune_mcp.server"]
        for _ in range(servers):
            server = stack.enter_context(mcp_session(command, environment))
            server.initialize()
            server.call("memory_status", {})
        asyncio.run(_allow(config))
        for number in range(sessions):
            for hooks in (True, False):
                name = "with_hooks" if hooks else "without_hooks"
                figures[name].append(asyncio.run(_one(config, folder, number, hooks=hooks)))
    asyncio.run(_stop(config))
    return figures


def _home(folder: Path) -> RuneConfig:
    home = folder / "home"
    home.mkdir(mode=0o700)
    projects = folder / "projects"
    projects.mkdir()
    settings = (
        f"[capture]\nquiet_seconds = {QUIET_SECONDS}\n"
        f"[capture.folders]\nclaude-code = [{json.dumps(str(projects))}]\n"
    )
    (home / "config.toml").write_text(settings, encoding="utf-8")
    os.environ["RUNE_HOME"] = str(home)
    return load_config(home=home)


async def _allow(config: RuneConfig) -> None:
    async with EngineClient(config) as client:
        await client.capture_allow("claude-code", allowed=True)
        while not (await client.capture_status()).following:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


async def _one(config: RuneConfig, folder: Path, number: int, *, hooks: bool) -> float:
    """Play one session; the seconds until its trajectory is there."""
    cwd = worktree(folder / f"repository-{number}-{hooks}")
    project = identify(cwd).id
    home = config.home if hooks else None
    played = PlayedSession(folder / "projects", cwd, home, pause=0.05)
    await asyncio.to_thread(played.play)
    ended = time.monotonic()
    async with EngineClient(config) as client:
        while (await client.project(project)).trajectories == 0:
            if time.monotonic() > ended + _WAIT_SECONDS:
                raise RuntimeError("the trajectory did not come")
            await asyncio.sleep(0.05)
        state = await client.project(project)
    assert (state.trajectories, state.distillable_trajectories) == (1, 1), state
    assert set(played.exit_codes) <= {0}
    return round(time.monotonic() - ended, 2)


async def _stop(config: RuneConfig) -> None:
    async with EngineClient(config) as client:
        await client.stop()


def worktree(folder: Path) -> Path:
    """A worktree of a new repository with one commit, beside it."""
    beside = folder.with_name(folder.name + "-worktree")
    author = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for arguments in (
        ["init", "--quiet", str(folder)],
        ["-C", str(folder), *author, "commit", "--quiet", "--allow-empty", "-m", folder.name],
        ["-C", str(folder), "worktree", "add", "--quiet", "--detach", str(beside)],
    ):
        subprocess.run(["git", *arguments], check=True, timeout=60)
    return beside


if __name__ == "__main__":
    main()
