"""What running a candidate against its tests can end in: a closed union, never a bool.

A verdict that could not be reached (`Infra`) is not a fail: it is retried, never counted and
never trained on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Evidence(BaseModel):
    """How the verdict was reached, so that it can be reproduced.

    `tier` names the isolation mechanism, `limits` what was enforced (bytes, seconds, counts).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: str
    in_process: bool = Field(description="True while the tests share the candidate's process.")
    limits: dict[str, int | float]
    runner_sha256: str
    tests_sha256: str
    candidate_sha256: str
    wall_seconds: float
    stdout: str
    stderr: str
    exit_code: int | None


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    evidence: Evidence | None = None


class Pass(_Verdict):
    kind: Literal["pass"] = "pass"


class Fail(_Verdict):
    """A test's assertion did not hold."""

    kind: Literal["fail"] = "fail"
    message: str


class CandidateError(_Verdict):
    """The candidate raised, did not compile, or ended its process before the tests did."""

    kind: Literal["candidate_error"] = "candidate_error"
    message: str


class Timeout(_Verdict):
    kind: Literal["timeout"] = "timeout"
    message: str


class ResourceExceeded(_Verdict):
    kind: Literal["resource_exceeded"] = "resource_exceeded"
    message: str


class Tampered(_Verdict):
    """The run tried to forge its own verdict."""

    kind: Literal["tampered"] = "tampered"
    message: str


class Infra(_Verdict):
    """No verdict: the sandbox or the machine failed, not the candidate."""

    kind: Literal["infra"] = "infra"
    message: str


Verdict = Annotated[
    Pass | Fail | CandidateError | Timeout | ResourceExceeded | Tampered | Infra,
    Field(discriminator="kind"),
]


def tests_passed(verdict: Verdict) -> bool | None:
    """True for `Pass`, None where no verdict was reached, False for the rest."""
    if isinstance(verdict, Infra):
        return None
    return isinstance(verdict, Pass)
