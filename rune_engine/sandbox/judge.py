"""From how a run ended to its verdict. Pure: no process, no clock, no file."""

from __future__ import annotations

import signal

from rune_engine.config import SandboxLimits
from rune_engine.sandbox.process import ChildEnded, Ended
from rune_engine.sandbox.verdict import (
    CandidateError,
    Evidence,
    Fail,
    Infra,
    Pass,
    ResourceExceeded,
    Tampered,
    Timeout,
    Verdict,
)


def judge(ended: Ended, secret: bytes, limits: SandboxLimits, evidence: Evidence) -> Verdict:
    """The verdict; only a report that begins with `secret` can make it a pass."""
    if not ended.ready:
        lines = ended.stderr.strip().splitlines()
        why = lines[-1] if lines else "it did not get ready in time" if ended.timed_out else "?"
        return Infra(message=f"The sandbox could not start: {why}", evidence=evidence)
    if ended.flooded:
        message = f"It printed more than {limits.file_bytes} bytes."
        return ResourceExceeded(message=message, evidence=evidence)
    if ended.timed_out:
        message = f"It ran longer than {limits.wall_seconds:g} s."
        return Timeout(message=message, evidence=evidence)
    if not ended.children:
        return Infra(message="The run ended and nothing says how.", evidence=evidence)
    child = ended.children[-1]
    if not child.report:
        return _without_report(child, limits, evidence)
    if not child.report.startswith(secret) or child.report.count(secret) != 1:
        message = "Something was written to the verdict pipe that is not the runner's report."
        return Tampered(message=message, evidence=evidence)
    if child.exit_code != 0:
        message = f"The process ended with {child.exit_code} while its tests were reported."
        return Tampered(message=message, evidence=evidence)
    return _reported(child.report[len(secret) :], evidence)


def _reported(report: bytes, evidence: Evidence) -> Verdict:
    kind, _, message = report.decode("utf-8", "replace").partition("\n")
    if kind == "pass":
        return Pass(evidence=evidence)
    message = message.strip("\n") or kind
    if kind == "fail":
        return Fail(message=message, evidence=evidence)
    if kind == "candidate_error":
        return CandidateError(message=message, evidence=evidence)
    if kind == "resource_exceeded":
        return ResourceExceeded(message=message, evidence=evidence)
    return Infra(message=message, evidence=evidence)


def _without_report(child: ChildEnded, limits: SandboxLimits, evidence: Evidence) -> Verdict:
    code = child.exit_code
    out_of_time = code == -signal.SIGXCPU
    if code == -signal.SIGKILL:
        out_of_time = child.cpu_seconds >= limits.cpu_seconds
        if not out_of_time:  # it cannot have killed itself: the filter refuses that
            message = "The run was killed from outside, most likely because memory ran out."
            return Infra(message=message, evidence=evidence)
    if out_of_time:
        message = f"It used more than {limits.cpu_seconds} s of processor time."
        return Timeout(message=message, evidence=evidence)
    if code < 0:
        message = f"The process died of {signal.Signals(-code).name} before its tests were done."
        return CandidateError(message=message, evidence=evidence)
    message = f"The process ended itself (exit code {code}) before its tests were done."
    return CandidateError(message=message, evidence=evidence)
