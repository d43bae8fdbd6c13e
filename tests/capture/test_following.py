"""A running engine captures sessions as they happen, and leaves alone what it may not read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from engine_support import WAIT_SECONDS, engines, until
from session_files import inbox

from benchmarks.claude_session import PlayedSession
from benchmarks.live_capture import worktree
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.models import CaptureStatus, ProjectState, SourceStatus
from rune_engine.projects import identify


def source(status: CaptureStatus, name: str) -> SourceStatus:
    return next(one for one in status.sources if one.source == name)


async def following(client: EngineClient, name: str) -> CaptureStatus:
    """Allow a source, and wait until the engine follows it."""
    status = await client.capture_allow(name, allowed=True)
    async with asyncio.timeout(WAIT_SECONDS):
        while not status.following:
            await asyncio.sleep(0.05)
            status = await client.capture_status()
    return status


async def captured(client: EngineClient, project: str, trajectories: int = 1) -> ProjectState:
    async with asyncio.timeout(WAIT_SECONDS):
        while (state := await client.project(project)).trajectories < trajectories:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return state


async def test_a_live_session_in_a_worktree_is_its_repositorys_trajectory_when_it_ends(
    client: EngineClient, config: RuneConfig, projects: Path, tmp_path: Path
) -> None:
    await following(client, "claude-code")
    cwd = worktree(tmp_path / "repository")
    project = identify(tmp_path / "repository").id
    session = PlayedSession(projects, cwd, config.home)
    await asyncio.to_thread(session.begin, "Write double(number), and test it.")
    assert (await client.project(project)).trajectories == 0
    await asyncio.to_thread(session.end)
    state = await captured(client, project)
    assert (state.distillable_trajectories, state.unknown_trajectories) == (1, 0)
    assert set(session.exit_codes) == {0}
    (newest,) = (await client.capture_status()).newest
    assert (newest.path, newest.agent_session) == (str(session.transcript), session.id)
    assert (await client.provenance(newest.trajectory_id)) == newest
    await until(lambda: not list(config.hooks_path.glob("*.jsonl")), "the hooks are taken up")


async def test_a_session_without_hooks_has_ended_when_it_has_been_still_for_long(
    client: EngineClient, config: RuneConfig, projects: Path, tmp_path: Path
) -> None:
    await following(client, "claude-code")
    cwd = tmp_path / "plain"
    cwd.mkdir()
    session = PlayedSession(projects, cwd, None)
    await asyncio.to_thread(session.play)
    assert (await captured(client, identify(cwd).id)).distillable_trajectories == 1


async def test_a_session_without_a_transcript_is_what_its_hooks_told(
    client: EngineClient, config: RuneConfig, projects: Path, tmp_path: Path
) -> None:
    await following(client, "claude-code")
    cwd = tmp_path / "plain"
    cwd.mkdir()
    session = PlayedSession(tmp_path / "not followed", cwd, config.home)
    await asyncio.to_thread(session.begin, "Write double(number), and test it.")
    session.transcript.unlink()
    await asyncio.to_thread(session.end)
    assert (await captured(client, identify(cwd).id)).distillable_trajectories == 1


async def test_what_the_user_has_not_allowed_is_shown_and_not_read(
    client: EngineClient, config: RuneConfig, projects: Path, tmp_path: Path
) -> None:
    status = await client.capture_status()
    assert not status.following
    assert {one.state for one in status.sources} == {"undecided"}
    cwd = tmp_path / "plain"
    cwd.mkdir()
    await asyncio.to_thread(PlayedSession(projects, cwd, config.home).play)
    waiting = source(await client.capture_status(), "claude-code")
    assert (waiting.waiting, waiting.trajectories) == (1, 0)
    (hooked,) = config.hooks_path.glob("*.jsonl")
    assert "double" not in hooked.read_text()

    await client.capture_allow("claude-code", allowed=False)
    assert not list(config.hooks_path.glob("*.jsonl"))
    # Allowing it takes what has been waiting.
    await client.capture_allow("claude-code", allowed=True)
    assert (await captured(client, identify(cwd).id)).trajectories == 1
    taken = source(await client.capture_status(), "claude-code")
    assert (taken.state, taken.waiting, taken.sessions) == ("allowed", 0, 1)


async def test_what_is_dropped_into_the_inbox_is_taken_and_left_there(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    await following(client, "inbox")
    session = json.loads(inbox(tmp_path).read_text())
    cwd = tmp_path / "plain"
    cwd.mkdir()
    dropped = config.inbox_path / "session.json"
    text = json.dumps({**session, "cwd": str(cwd)})
    dropped.write_text(text[:200])
    await asyncio.sleep(0.1)
    dropped.write_text(text)
    assert (await captured(client, identify(cwd).id)).distillable_trajectories == 1
    assert dropped.read_text() == text


async def test_an_engine_that_starts_takes_what_came_while_none_ran_and_hooks_start_one(
    client: EngineClient, config: RuneConfig, projects: Path, tmp_path: Path
) -> None:
    await following(client, "claude-code")
    await client.stop()
    assert not engines(config)
    cwd = tmp_path / "plain"
    cwd.mkdir()
    await asyncio.to_thread(PlayedSession(projects, cwd, config.home).play)
    await until(lambda: engines(config), "a hook has started the engine")
    assert (await captured(client, identify(cwd).id)).distillable_trajectories == 1
