"""Sessions that mislead: each does so in its own way, and in no other."""

from __future__ import annotations

import random

import pytest

from project_worlds import Project, Session, make_project, make_sessions
from project_worlds.misleading import CONTRADICTIONS, contradicting_session, wrong_session
from project_worlds.mistakes import failure

SEEDS = range(31, 36)


def _sessions() -> list[tuple[Project, Session]]:
    projects = [make_project(seed) for seed in SEEDS]
    return [(project, session) for project in projects for session in make_sessions(project, 6)]


def test_a_wrong_session_claims_success_for_code_that_its_tests_fail() -> None:
    codes = set()
    for number, (project, session) in enumerate(_sessions()):
        wrong = wrong_session(random.Random(number), project, session.task)
        assert wrong.task == session.task
        assert failure(project, wrong.attempts[-1], wrong.task.tests) is not None
        assert failure(project, session.attempts[-1], wrong.task.tests) is None
        codes.add(wrong.attempts[-1])
    assert len(codes) > len(SEEDS)


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_a_contradicting_session_asks_the_same_and_only_the_earlier_one_speaks_against_it(
    kind: str,
) -> None:
    for number, (project, session) in enumerate(_sessions()):
        other = contradicting_session(random.Random(number), project, session.task, kind)  # type: ignore[arg-type]
        assert other.task.description == session.task.description
        assert failure(project, other.attempts[-1], other.task.tests) is None
        assert failure(project, session.attempts[-1], other.task.tests) is not None
        assert failure(project, other.attempts[-1], session.task.tests) is not None
