"""S25 on the wire: which agents' sessions may be read, and what was read of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from rune_engine.models.base import Model, Name
from rune_engine.models.trajectories import Outcome

SourceState = Literal["allowed", "forbidden", "undecided"]
SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,38}$")]
"""An agent whose sessions can be read, such as `claude-code`, or `inbox`."""
CapturedBy = Literal["import", "follower"]
TaskStatus = Literal["stored", "known", "new", "open", "forgotten", "refused", "deferred"]


class CaptureParams(Model):
    """One session file, or folder that is one session, to read."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    agent: SourceName | None = Field(default=None, description="Whose it is; found out if null.")
    project_id: Name | None = Field(default=None, description="Instead of where it was recorded.")
    dry_run: bool = Field(default=False, description="Say what would be stored, store nothing.")


class CapturedTask(Model):
    """A task that a session file tells of, and what became of it.

    `stored`: a new trajectory; `known`: it was there already; `new`: a dry run found it; `open`:
    its session goes on; `forgotten`: it was erased, and stays so; `refused`: see `reason`;
    `deferred`: the limit of trajectories in a minute is reached.
    """

    session_id: str
    task: int
    project_id: str
    description: str = Field(description="The beginning of the prompt, without its secrets.")
    attempts: int
    outcome: Outcome
    status: TaskStatus
    trajectory_id: str | None = None
    reason: str = ""


class CaptureReport(Model):
    """What was understood of a session file and what was passed over, by kind of record."""

    path: str
    source: str
    sessions: int
    tasks: list[CapturedTask]
    understood: dict[str, int]
    skipped: dict[str, int]


class Provenance(Model):
    """Where a trajectory came from: a session file, a call, the agent loop, a git history."""

    trajectory_id: str
    session_id: str
    source: str = Field(
        description="Whose session files, such as `claude-code`; else `recorded` (over MCP or by"
        " `rune record`), `agent_loop` or `mined`."
    )
    path: str = Field(
        description="The session file, or the folder of one; the file that it was mined from."
    )
    agent: str = Field(description="Who worked, as far as it was told.")
    agent_session: str = Field(description="The agent's own name for the session.")
    task: int = Field(description="The task's place in the session, from 0.")
    captured_by: CapturedBy | None = Field(description="Null if it was not captured.")
    captured_at: str


class SourceStatus(Model):
    """One agent: whether its sessions may be read, and what is there."""

    source: str
    state: SourceState
    folders: list[str] = Field(
        description="Where its sessions are looked for, as far as they exist."
    )
    waiting: int = Field(
        description="Session files that were not read; quarantined, unless allowed."
    )
    sessions: int
    trajectories: int


class CaptureStatus(Model):
    """Every source, whether the engine follows them now, and the newest captured trajectories."""

    following: bool
    sources: list[SourceStatus]
    newest: list[Provenance]


class SourceParams(Model):
    """A source's switch."""

    source: SourceName
    allowed: bool
