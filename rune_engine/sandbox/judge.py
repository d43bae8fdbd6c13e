"""From how a run ended to its verdict. Pure: no process, no clock, no file."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from rune_engine.config import SandboxLimits
from rune_engine.sandbox.cases import Cases
from rune_engine.sandbox.inside import values
from rune_engine.sandbox.oracle import Finding, Outcome, Raised, Returned, control, examine
from rune_engine.sandbox.process import ChildEnded, Ended
from rune_engine.sandbox.suite import Suite
from rune_engine.sandbox.verdict import (
    CandidateError,
    CaseResult,
    Evidence,
    Fail,
    Infra,
    Pass,
    ResourceExceeded,
    Tampered,
    Timeout,
    Verdict,
    printable,
)

_FORGED = "Something was written to the verdict pipe that is not the runner's report."


def judge(
    suite: Suite,
    ended: Ended,
    secret: bytes,
    limits: SandboxLimits,
    evidence: Evidence,
    *,
    second: bool = False,
) -> Verdict:
    """The verdict on one run; only reports that begin with `secret` can make it a pass."""
    early = before_tests(ended, limits, evidence)
    if early is not None:
        return early
    judged = [_judge_child(child, secret, limits, evidence) for child in ended.children]
    for verdict in judged:
        if isinstance(verdict, Tampered):
            return verdict
    if suite.cases is not None:
        return _on_cases(suite.cases, suite.tests, ended, judged, limits, evidence, second)
    if ended.timed_out:
        return too_long(limits, evidence)
    if not judged:
        return nothing_said(evidence)
    reported = judged[-1]
    if isinstance(reported, bytes):
        return _reported(reported, len(suite.to_call), limits, evidence)
    return reported


def before_tests(ended: Ended, limits: SandboxLimits, evidence: Evidence) -> Verdict | None:
    """The verdict where no test can have decided."""
    if not ended.ready:
        lines = ended.stderr.strip().splitlines()
        why = lines[-1] if lines else "it did not get ready in time" if ended.timed_out else "?"
        return Infra(message=f"The sandbox could not start: {why}", evidence=evidence)
    if ended.flooded:
        message = f"It printed more than {limits.file_bytes} bytes."
        return ResourceExceeded(message=message, evidence=evidence)
    return None


def too_long(limits: SandboxLimits, evidence: Evidence) -> Verdict:
    return Timeout(message=f"It ran longer than {limits.wall_seconds:g} s.", evidence=evidence)


def nothing_said(evidence: Evidence) -> Verdict:
    return Infra(message="The run ended and nothing says how.", evidence=evidence)


def _judge_child(
    child: ChildEnded, secret: bytes, limits: SandboxLimits, evidence: Evidence
) -> bytes | Verdict:
    """What a child reported, after the secret; or the verdict that its end alone makes."""
    if not child.report or child.outgrown:
        return without_report(child, limits, evidence)
    if not child.report.startswith(secret) or child.report.count(secret) != 1:
        return Tampered(message=_FORGED, evidence=evidence)
    if child.exit_code != 0:
        message = f"The process ended with {child.exit_code} while its tests were reported."
        return Tampered(message=message, evidence=evidence)
    return child.report[len(secret) :]


# --- tests that ran inside -----------------------------------------------------------------------


def _reported(report: bytes, planned: int, limits: SandboxLimits, evidence: Evidence) -> Verdict:
    kind, _, message = report.decode("utf-8", "replace").partition("\n")
    if kind == "pass":
        if not message.isdigit() or int(message) < planned:
            said = f"{planned} tests were planned, and {message or 'none'} are said to have run."
            return Tampered(message=said, evidence=evidence)
        return Pass(evidence=evidence)
    if kind == "gone":
        code, cpu_seconds = message.split()
        child = ChildEnded(int(code), float(cpu_seconds), 0.0, b"")
        return without_report(child, limits, evidence)
    return of_kind(kind, message.strip("\n") or kind, evidence)


def of_kind(kind: str, message: str, evidence: Evidence) -> Verdict:
    if kind == "fail":
        return Fail(message=message, evidence=evidence)
    if kind == "candidate_error":
        return CandidateError(message=message, evidence=evidence)
    if kind == "resource_exceeded":
        return ResourceExceeded(message=message, evidence=evidence)
    return Infra(message=message, evidence=evidence)


def without_report(child: ChildEnded, limits: SandboxLimits, evidence: Evidence) -> Verdict:
    if child.outgrown:
        message = f"Its processes together held more than {limits.memory_bytes} bytes of memory."
        return ResourceExceeded(message=message, evidence=evidence)
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


# --- calls whose answers are compared here -------------------------------------------------------


def _on_cases(
    cases: Cases,
    tests: str,
    ended: Ended,
    judged: Sequence[bytes | Verdict],
    limits: SandboxLimits,
    evidence: Evidence,
    backwards: bool,
) -> Verdict:
    total = len(cases.calls)
    numbers = range(total - 1, -1, -1) if backwards else range(total)
    outcomes: dict[int, Outcome] = {}
    broken: Verdict | None = None
    for number, reported in zip(numbers, judged, strict=False):
        outcome = _outcome(reported, number) if isinstance(reported, bytes) else reported
        if isinstance(outcome, Returned | Raised):
            outcomes[number] = outcome
        elif outcome is None:
            return Tampered(message=_FORGED, evidence=evidence)
        else:
            broken = broken or outcome
    children = dict(zip(numbers, ended.children, strict=False))
    results, first = _findings(cases, outcomes, children, tests)
    evidence = evidence.model_copy(update={"cases": results})
    if first is not None:
        evidence = evidence.model_copy(update={"stderr": evidence.stderr + printable(first.text)})
        return of_kind(first.kind, first.text.strip("\n"), evidence)
    if broken is not None:
        return broken.model_copy(update={"evidence": evidence})
    if ended.timed_out:
        return too_long(limits, evidence)
    if len(outcomes) != total or len(ended.children) != total:
        return nothing_said(evidence)
    if not control(cases, [outcomes[number] for number in range(total)], tests):
        message = "The negative control failed: wrong answers were taken for right ones."
        return Infra(message=message, evidence=evidence)
    return Pass(evidence=evidence.model_copy(update={"controls": True}))


def _outcome(report: bytes, number: int) -> Outcome | None:
    """The answer in a report, or None where it is not one that the runner writes."""
    case_id, _, rest = report.partition(b"\n")
    kind, _, body = rest.partition(b"\n")
    if case_id != b"case-%d" % number:
        return None
    try:
        value = values.decode(body)
    except values.NotAValue:
        return None
    if kind == b"value":
        return Returned(value)
    if kind not in (b"raised", b"unloaded") or not isinstance(value, tuple) or len(value) != 3:
        return None
    names, verdict, text = value
    if not isinstance(names, tuple) or not isinstance(verdict, str) or not isinstance(text, str):
        return None
    words = tuple(name for name in names if isinstance(name, str))
    limited = verdict == "resource_exceeded"
    made = "resource_exceeded" if limited else "candidate_error"
    return Raised(words, text, made, number, kind == b"unloaded")


def _findings(
    cases: Cases, outcomes: dict[int, Outcome], children: dict[int, ChildEnded], tests: str
) -> tuple[tuple[CaseResult, ...], Finding | None]:
    """The results in the tests' order until an answer is missing, and the first that is not met."""
    known = _known_prefix(cases, outcomes)
    listed = [outcomes[number] for number in range(known)]
    results, first = list[CaseResult](), None
    for number, expectation in enumerate(cases.expectations):
        if any(call >= known for call in expectation.calls):
            break
        finding = examine(expectation, listed, tests)
        first = first or (None if finding.ok else finding)
        ended = [children[call] for call in expectation.calls]
        results.append(
            CaseResult(
                id=f"{number}: tests.py:{expectation.stack[-1].line}",
                ok=finding.ok,
                wall_seconds=sum(child.wall_seconds for child in ended),
                cpu_seconds=sum(child.cpu_seconds for child in ended),
                message=finding.message,
            )
        )
    return tuple(results), first


def _known_prefix(cases: Cases, outcomes: dict[int, Outcome]) -> int:
    for number in range(len(cases.calls)):
        if number not in outcomes:
            return number
    return len(cases.calls)
