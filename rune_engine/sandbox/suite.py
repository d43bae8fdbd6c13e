"""A test suite made ready to be run: by which oracle, and what goes inside for that.

From the strongest: compiled to data and decided outside; run in a process beside the candidate's;
run in the candidate's own, by pytest where they are made for it. Which one follows from the tests
alone, so no candidate chooses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rune_engine.sandbox.cases import Cases
from rune_engine.sandbox.compiling import compile_tests
from rune_engine.sandbox.crossing import crossing, needed_names
from rune_engine.sandbox.oracle import control
from rune_engine.sandbox.plan import plan_tests
from rune_engine.sandbox.pytest_files import PytestFiles, as_file, needs_pytest, plan_files
from rune_engine.sandbox.verdict import Oracle

_STUB = """
class _Nothing:
    def _refuse(self, *_, **__):
        raise AssertionError("this stands in for the candidate")
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __iter__ = _refuse
    __len__ = __contains__ = __float__ = __int__ = __index__ = __hash__ = _refuse
    def __call__(self, *_, **__):
        return self
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self
"""


Candidate = str | Mapping[str, str]
"""The text of solution.py, or files of a project by their relative paths."""


def as_files(candidate: Candidate) -> Mapping[str, str]:
    return {"solution.py": candidate} if isinstance(candidate, str) else candidate


@dataclass(frozen=True)
class Suite:
    """`problem` says why no verdict is possible, `reason` why no stronger oracle is.

    `pytest` is there where the tests are pytest files, which need the project profile.
    """

    tests: str
    to_call: tuple[str, ...] = ()
    oracle: Oracle = "inside"
    cases: Cases | None = None
    names: tuple[str, ...] = ()
    reason: str = ""
    problem: str | None = None
    pytest: PytestFiles | None = None

    def request(
        self, candidate: Candidate, secret: bytes, *, second: bool = False
    ) -> dict[str, Any]:
        """What goes inside. The `second` run has another hash seed and the reverse order."""
        request = {
            "candidate": candidate,
            "secret": secret,
            "hash_seed": 20_177 if second else 0,
            "stop_early": True,
        }
        order = slice(None, None, -1 if second else 1)
        if self.pytest is not None:
            files = as_files(candidate)
            return {**request, "candidate": "", **self.pytest.request(files, backwards=second)}
        if self.cases is not None:
            cases = [
                (f"case-{number}", call.function, call.args, call.kwargs)
                for number, call in enumerate(self.cases.calls)
            ]
            return {**request, "cases": cases[order], "children": len(cases)}
        to_call = list(self.to_call[order])
        beside = {"beside": True, "names": list(self.names)} if self.oracle == "beside" else {}
        return {**request, "tests": self.tests, "to_call": to_call, **beside}

    def stub(self) -> str:
        """A candidate that has every name the tests need, and can do nothing."""
        if self.oracle == "beside":
            lines = [f"def {name}(*_, **__): return _Nothing()" for name in self.names]
        else:
            lines = [f"{name} = _Nothing()" for name in needed_names(self.tests)]
        return "\n".join([_STUB, *lines])

    def within(self) -> Suite:
        """The same tests in the candidate's own process."""
        return replace(self, oracle="inside", cases=None, reason="the tests pass objects on")


def ready(tests: str, strongest: Oracle = "outside") -> Suite:
    """`tests` made ready for the strongest oracle, but none stronger than `strongest`."""
    plan = plan_tests(tests)
    if plan.fixtures:
        return for_pytest(as_file(tests), libraries=True)
    if plan.problem is not None:
        return Suite(tests, problem=plan.problem)
    reason = "asked for"
    if strongest == "outside":
        compiled = compile_tests(tests, plan.to_call)
        if isinstance(compiled, str):
            reason = compiled
        elif not control(compiled, (), tests):
            reason = "the tests cannot tell answers apart as data"
        else:
            return Suite(tests, plan.to_call, "outside", compiled)
    if needs_pytest(tests):
        return for_pytest(as_file(tests), libraries=True)
    if strongest == "inside":
        return Suite(tests, plan.to_call, reason=reason)
    crosses = crossing(tests)
    if crosses.objects is None:
        return Suite(tests, plan.to_call, "beside", names=crosses.names, reason=reason)
    return Suite(tests, plan.to_call, reason=f"{reason}; {crosses.objects}")


def for_pytest(files: Mapping[str, str], *, libraries: bool = False) -> Suite:
    """Pytest files made ready; `libraries`: what they import is installed, but for solution.py."""
    plan = plan_files(files, libraries=libraries)
    tests = "\n".join(files.values())
    return Suite(tests, reason="pytest", problem=plan.problem, pytest=plan)
