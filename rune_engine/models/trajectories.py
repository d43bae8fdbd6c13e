"""S2 on the wire: what happened in a coding session."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from rune_engine.models.base import Identifier, JsonObject, Model, Name, Text

MAX_ATTEMPTS_PER_TRAJECTORY = 100
Outcome = Literal["success", "exhausted", "unknown"]
"""`unknown`: nothing tells whether the last attempt solved the task, which is no failure."""
TestEvidence = Literal["tests", "trusted", "none"]


ExitCode = Annotated[int, Field(ge=-(2**31), le=2**32 - 1)]
"""What a process can end with, on any system."""


class Attempt(Model):
    """One try at a task: the code, what running it printed, and whether the tests passed."""

    generated_code: Text
    stdout: Text = ""
    stderr: Text = ""
    exit_code: ExitCode | None = None
    tests_passed: bool | None = Field(
        default=None, description="None when no verdict was reached; that is not a failure."
    )
    verdict: JsonObject | None = Field(
        default=None, description="The sandbox's verdict with its evidence, where Rune ran it."
    )


class GitProvenance(Model):
    """Which commit of a repository a trajectory was mined from; no person is named.

    `evidence`: "tests" failed without the change and passed with it; "trusted": the user said that
    what was committed is right without any; "none" leaves the outcome unknown.
    """

    kind: Literal["git"] = "git"
    commit_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
    path: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    unit: Annotated[str, StringConstraints(max_length=500)] = Field(
        default="", description="The function or class by its dotted name; empty: the whole file."
    )
    task_from: Literal["commit", "issue"] = "commit"
    evidence: TestEvidence = "none"
    tests: Annotated[list[str], Field(max_length=50)] = Field(
        default_factory=list, description="Paths of the test files that decided."
    )


class TrajectoryDraft(Model):
    """A trajectory as somebody records it; the store gives it an id."""

    project_id: Name
    task_description: Annotated[Text, StringConstraints(min_length=1)]
    attempts: Annotated[list[Attempt], Field(min_length=1, max_length=MAX_ATTEMPTS_PER_TRAJECTORY)]
    outcome: Outcome
    test_suite: Text = ""
    task_type: Name = "feature-impl"
    domain: Name = "general"
    session_id: Identifier | None = None
    agent_id: Name | None = None
    held_out: bool = Field(
        default=False, description="Kept back for evaluation: never distilled into weights."
    )
    adapter_id: Identifier | None = Field(
        default=None, description="The adapter that was loaded while the attempts were made."
    )
    source: Literal["recorded", "agent_loop", "mined"] = "recorded"
    provenance: GitProvenance | None = Field(
        default=None, description="Where it came from, unless whoever was there recorded it."
    )
    workspace: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        default=None, description="The absolute folder that its code imports from, while it ran."
    )


class Trajectory(TrajectoryDraft):
    """A stored trajectory."""

    id: Identifier
    session_id: Identifier
    content_hash: str
    created_at: str


class RecordedTrajectory(Model):
    """What `record_trajectory` answers."""

    trajectory_id: Identifier
    session_id: Identifier
    duplicate: bool = Field(description="True when the same trajectory was already stored.")
    distillable_trajectories: int = Field(
        description="Successful trajectories of this project that a distillation would use."
    )
    redacted: dict[str, int] = Field(
        default_factory=dict, description="Secrets that were replaced before storing, by kind."
    )
