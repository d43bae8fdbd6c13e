"""HumanEval: every reference passes and nothing wrong does, by every oracle.

Here a share of the tasks, so that the tests stay quick; `benchmarks/verdicts.py` runs all 164.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.verdicts import ORACLES, measure, wrong_solutions
from rune_engine.evaluation.suites import SuiteTask, load_suite
from rune_engine.sandbox.suite import ready
from rune_engine.suspicion import suspicion

HUMAN_EVAL = Path(__file__).parents[2].parent / "shared/data/HumanEval.jsonl.gz"
pytestmark = pytest.mark.skipif(not HUMAN_EVAL.exists(), reason="the data set is not here")


@pytest.fixture(scope="module")
def tasks() -> list[SuiteTask]:
    return load_suite(HUMAN_EVAL)


async def test_references_pass_and_wrong_solutions_do_not(tasks: list[SuiteTask]) -> None:
    calls_only = tasks[38]  # has no operator, comparison or constant to change
    chosen = [*tasks[::8], calls_only]
    wrong = await wrong_solutions(chosen)
    assert {name: len(codes) for name, codes in wrong.items() if len(codes) != 2} == {}
    for oracle in ORACLES:
        result = await measure(chosen, oracle, wrong)
        assert result["failed"] == []
        assert result["verdicts"]["references pass"] == len(chosen)


def test_nearly_all_tasks_compile_to_data_and_the_rest_say_why(tasks: list[SuiteTask]) -> None:
    suites = [ready(task.test_suite) for task in tasks]
    print(Counter(suite.oracle for suite in suites))
    assert sum(suite.oracle == "outside" for suite in suites) >= 161
    assert all(suite.reason for suite in suites if suite.oracle != "outside")


def test_no_reference_but_the_one_that_evaluates_text_is_suspicious(
    tasks: list[SuiteTask],
) -> None:
    flags = {t.task_id: suspicion(t.reference_solution, t.test_suite) for t in tasks}
    assert {name: found for name, found in flags.items() if found} == {
        "HumanEval/160": ("dynamic-code",)
    }
