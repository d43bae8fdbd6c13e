"""What running a candidate against its tests can end in: a closed union, never a bool.

A verdict that could not be reached (`Infra`) is not a fail: it is retried, never counted and
never trained on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def printable(text: str) -> str:
    """`text` with what UTF-8 cannot hold (an unpaired surrogate) replaced."""
    return text.encode("utf-8", "replace").decode()


Words = Annotated[str, AfterValidator(printable)]
"""Text that came out of a run."""

Oracle = Literal["outside", "beside", "inside"]
"""Where the tests decided: in the engine, over data; in a process of their own within the walls, to
which only values cross from the candidate's; or in the candidate's own process."""


class CaseResult(BaseModel):
    """How one expectation of a compiled suite came out; seconds are those of its calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    ok: bool
    wall_seconds: float
    cpu_seconds: float
    message: Words = ""


class Evidence(BaseModel):
    """How the verdict was reached, so that it can be reproduced.

    `tier` names the isolation mechanism, `limits` what was enforced (bytes, seconds, counts).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: str
    profile: Literal["pure", "project"] = "pure"
    oracle: Oracle
    in_process: bool = Field(description="True where the tests share the candidate's process.")
    not_outside: str = Field(default="", description="Why the tests were not compiled to data.")
    cases: tuple[CaseResult, ...] = ()
    controls: bool | None = Field(
        default=None,
        description="Whether the tests failed with a stand-in for the candidate; None: not tried.",
    )
    confirmed: bool = Field(
        default=False, description="A second run, another hash seed and order, agreed."
    )
    suspicion: tuple[str, ...] = ()
    limits: dict[str, int | float]
    runner_sha256: str
    tests_sha256: str
    candidate_sha256: str
    wall_seconds: float
    stdout: Words
    stderr: Words
    exit_code: int | None


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    evidence: Evidence | None = None


class Pass(_Verdict):
    kind: Literal["pass"] = "pass"


class Fail(_Verdict):
    """A test's assertion did not hold."""

    kind: Literal["fail"] = "fail"
    message: Words


class CandidateError(_Verdict):
    """The candidate raised, did not compile, or ended its process before the tests did."""

    kind: Literal["candidate_error"] = "candidate_error"
    message: Words


class Timeout(_Verdict):
    kind: Literal["timeout"] = "timeout"
    message: Words


class ResourceExceeded(_Verdict):
    kind: Literal["resource_exceeded"] = "resource_exceeded"
    message: Words


class Tampered(_Verdict):
    """The run tried to forge its own verdict."""

    kind: Literal["tampered"] = "tampered"
    message: Words


class Infra(_Verdict):
    """No verdict: the sandbox or the machine failed, not the candidate."""

    kind: Literal["infra"] = "infra"
    message: Words


Verdict = Annotated[
    Pass | Fail | CandidateError | Timeout | ResourceExceeded | Tampered | Infra,
    Field(discriminator="kind"),
]


def tests_passed(verdict: Verdict) -> bool | None:
    """True for `Pass`, None where no verdict was reached, False for the rest."""
    if isinstance(verdict, Infra):
        return None
    return isinstance(verdict, Pass)
