"""From what a run of pytest reported to its verdict. Pure: no process, no clock, no file.

The report was written in the candidate's process and is checked against what was known before: the
tests that the files hold. It must be complete, agree with itself, and with how the process ended.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rune_engine.config import SandboxLimits
from rune_engine.sandbox.judge import before_tests, nothing_said, of_kind, too_long, without_report
from rune_engine.sandbox.process import ChildEnded, Ended
from rune_engine.sandbox.pytest_files import PytestFiles
from rune_engine.sandbox.verdict import (
    CandidateError,
    CaseResult,
    Evidence,
    Infra,
    Pass,
    Tampered,
    Verdict,
)

_CUT_SHORT = (2, 3)  # interrupted, or something else than a test raised
_FORGED = "Something was written to the verdict pipe that is not pytest's report."


_MOST_SECONDS = 1e9
_MAYBE_TEXT, _MAYBE_BOOL = (str, type(None)), (bool, type(None))
_SHAPES: dict[str, tuple[Any, ...]] = {
    "no pytest": (),
    "no plugin": (),
    "started": (),
    "collected": (list,),
    "uncollected": (str, str, _MAYBE_TEXT, str),
    "failed": (str, str, str),
    "skipped": (str,),
    "ran": (str, _MAYBE_BOOL, bool, list, float, float),
    "finished": (int,),
}


@dataclass
class _Report:
    started: bool = False
    collected: list[str] | None = None
    uncollected: list[list[Any]] = field(default_factory=list)
    failed: list[list[Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    ran: dict[str, list[Any]] = field(default_factory=dict)
    finished: int | None = None


def judge_pytest(
    plan: PytestFiles, ended: Ended, secret: bytes, limits: SandboxLimits, evidence: Evidence
) -> Verdict:
    """The verdict on one run of pytest."""
    early = before_tests(ended, limits, evidence)
    if early is not None:
        return early
    if ended.timed_out:
        return too_long(limits, evidence)
    if not ended.children:
        return nothing_said(evidence)
    child = ended.children[-1]
    if child.exit_code < 0 or child.outgrown:
        return without_report(child, limits, evidence)
    records = _records(child.report, secret)
    report = _read(records) if records is not None else None
    if records is None or report is None:
        return Tampered(message=_FORGED, evidence=evidence)
    if ["no pytest"] in records:
        return Infra(message="pytest is not installed beside the interpreter.", evidence=evidence)
    if ["no plugin"] in records:
        message = "The tests have async fixtures: install pytest-asyncio beside the interpreter."
        return Infra(message=message, evidence=evidence)
    if not report.started:
        lines = ended.stderr.strip().splitlines() or ["?"]
        return Infra(message=f"pytest could not start: {lines[-1]}", evidence=evidence)
    evidence = evidence.model_copy(update={"cases": _cases(plan, report)})
    return (
        _failure(plan, report, evidence)
        or _incomplete(report, child, limits, evidence)
        or _skipped(plan, report, evidence)
        or _inconsistent(plan, report, evidence)
        or Pass(evidence=evidence)
    )


def _records(data: bytes, secret: bytes) -> list[list[Any]] | None:
    """The records that bear the secret; None where there is anything else."""
    before, *parts = data.split(secret)
    if before:
        return None
    records = []
    for part in parts:
        try:
            record = json.loads(part)
        except (ValueError, RecursionError):
            return None
        if not part.endswith(b"\n") or not _is_record(record):
            return None
        records.append(record)
    return records


def _is_record(record: object) -> bool:
    """Whether it is of a known kind, and of that kind's shape; lists are of text."""
    if not isinstance(record, list) or not record or not isinstance(record[0], str):
        return False
    shape, rest = _SHAPES.get(record[0]), record[1:]
    if shape is None or len(shape) != len(rest):
        return False
    fits = all(isinstance(part, kind) for part, kind in zip(rest, shape, strict=True))
    lists = [part for part in rest if isinstance(part, list)]
    seconds = [part for part in rest if isinstance(part, float)]
    return (
        fits
        and all(isinstance(each, str) for part in lists for each in part)
        and all(0 <= each < _MOST_SECONDS for each in seconds)
    )


def _read(records: list[list[Any]]) -> _Report | None:
    """None where something is said twice."""
    report = _Report()
    for kind, *rest in records:
        if kind == "started":
            report.started = True
        elif kind == "collected" and report.collected is None:
            report.collected = rest[0]
        elif kind == "uncollected":
            report.uncollected.append(rest)
        elif kind == "failed":
            report.failed.append(rest)
        elif kind == "skipped":
            report.skipped.append(rest[0])
        elif kind == "ran" and rest[0] not in report.ran:
            report.ran[rest[0]] = rest[1:]
        elif kind == "finished" and report.finished is None:
            report.finished = rest[0]
        elif kind not in ("no pytest", "no plugin"):
            return None
    return report


def _failure(plan: PytestFiles, report: _Report, evidence: Evidence) -> Verdict | None:
    for _, outcome, missing, text in report.uncollected:
        if outcome == "failed":
            return _not_imported(plan, missing, text, evidence)
    if report.failed:
        _, kind, text = report.failed[0]
        return of_kind(kind, text or "a test failed", evidence)
    return None


def _not_imported(plan: PytestFiles, missing: object, text: str, evidence: Evidence) -> Verdict:
    if isinstance(missing, str) and missing.split(".")[0] in plan.libraries:
        message = f"The tests need {missing}, which is not installed."
        return Infra(message=message, evidence=evidence)
    return CandidateError(message=text or "the tests cannot be imported", evidence=evidence)


def _incomplete(
    report: _Report, child: ChildEnded, limits: SandboxLimits, evidence: Evidence
) -> Verdict | None:
    missing = set(report.collected or ()) - set(report.ran)
    left_out = report.collected is None and not report.uncollected
    if report.finished in (None, *_CUT_SHORT) or missing or left_out:
        return without_report(child, limits, evidence)
    return None


def _skipped(plan: PytestFiles, report: _Report, evidence: Evidence) -> Verdict | None:
    names = report.skipped + [each[0] for each in report.uncollected]
    if not names:
        return None
    if plan.can_skip:
        return Infra(message=f"Tests were skipped: {names[0]}", evidence=evidence)
    message = f"{names[0]} was skipped, and the tests do not skip by themselves."
    return Tampered(message=message, evidence=evidence)


def _inconsistent(plan: PytestFiles, report: _Report, evidence: Evidence) -> Verdict | None:
    said = ""
    collected = report.collected or []
    absent = set(plan.expected) - {_base(node) for node in collected}
    if absent:
        said = f"{min(absent)} was planned, and is not said to have run."
    elif set(report.ran) != set(collected):
        said = "Other tests are said to have run than were collected."
    for node in report.ran:
        if not _ran_to_its_end(plan, report, node):
            said = said or f"{node} is said to have passed, and did not run to its end."
    if not said and (report.finished != 0 or evidence.exit_code != 0):
        said = f"Every test is said to have passed, and pytest ended with {evidence.exit_code}."
    return Tampered(message=said, evidence=evidence) if said else None


def _ran_to_its_end(plan: PytestFiles, report: _Report, node: str) -> bool:
    returned, raised, phases, *_ = report.ran[node]
    whole = set(phases) == {"passed"} and len(phases) >= 3
    called = returned is True if plan.expected.get(_base(node)) else returned is not False
    return whole and called and not raised


def _cases(plan: PytestFiles, report: _Report) -> tuple[CaseResult, ...]:
    """How each test came out, as it was said in the candidate's process."""
    messages = {node: text for node, _, text in reversed(report.failed)}
    return tuple(
        CaseResult(
            id=node,
            ok=_ran_to_its_end(plan, report, node) and node not in messages,
            wall_seconds=wall_seconds,
            cpu_seconds=cpu_seconds,
            message=messages.get(node, ""),
        )
        for node, (*_, wall_seconds, cpu_seconds) in report.ran.items()
    )


def _base(node: str) -> str:
    return node.split("[")[0]
