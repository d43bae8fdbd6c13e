"""A mined unit as a trajectory: the version before is the first attempt, the commit's the last."""

from __future__ import annotations

import uuid

from rune_engine.mining.evidence import Evidence, without_times
from rune_engine.mining.history import MinedCommit, Target
from rune_engine.models import Attempt, GitProvenance, TrajectoryDraft
from rune_engine.models.mining import MineParams
from rune_engine.sandbox.verdict import Verdict, tests_passed


def draft(
    commit: MinedCommit,
    target: Target,
    evidence: Evidence | None,
    params: MineParams,
    *,
    held_out: bool,
) -> TrajectoryDraft:
    """A success where tests tell, or where the user trusts what was committed; else unknown."""
    provenance = GitProvenance(
        commit_id=commit.id,
        path=target.path,
        unit=target.unit.name,
        task_from="issue" if commit.issue is not None else "commit",
        evidence="tests" if evidence else "trusted" if params.trust else "none",
        tests=list(evidence.tests) if evidence else [],
    )
    before, after = target.unit.before, target.unit.after
    attempts = [] if before is None else [_attempt(before, evidence.before if evidence else None)]
    return TrajectoryDraft(
        project_id=params.project_id,
        task_description=commit.task(target),
        attempts=[*attempts, _attempt(after, evidence.after if evidence else None)],
        outcome="success" if evidence or params.trust else "unknown",
        test_suite=evidence.suite if evidence else "",
        task_type=commit.message.task_type,
        domain=params.domain,
        session_id=_id("session", params.project_id, commit.id),
        held_out=held_out,
        source="mined",
        provenance=provenance,
    )


def trajectory_id(draft: TrajectoryDraft) -> str:
    """Always the same for the same unit of the same commit with the same kind of evidence, so that
    a history that is mined again adds nothing, and what was forgotten stays so."""
    source = draft.provenance
    assert source is not None
    parts = (source.commit_id, source.path, source.unit, source.evidence)
    return _id("trajectory", draft.project_id, *parts)


def id_with_tests(project_id: str, commit: MinedCommit, target: Target) -> str:
    """The id that a unit's trajectory has once tests spoke for it."""
    return _id("trajectory", project_id, commit.id, target.path, target.unit.name, "tests")


def _attempt(code: str, verdict: Verdict | None) -> Attempt:
    if verdict is None:
        return Attempt(generated_code=code)
    evidence = verdict.evidence
    return Attempt(
        generated_code=code,
        stdout=without_times(_storable(evidence.stdout)) if evidence else "",
        stderr=without_times(_storable(evidence.stderr)) if evidence else "",
        exit_code=evidence.exit_code if evidence else None,
        tests_passed=tests_passed(verdict),
        verdict=verdict.model_dump(mode="json"),
    )


def _storable(text: str) -> str:
    return text.replace("\0", "")


def _id(*parts: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\0".join(("rune:mine", *parts))))
