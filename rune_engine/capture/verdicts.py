"""Whether a run of tests passed, from its exit code and from what its runner printed.

Where they contradict each other, or neither says anything, there is no verdict. Knows no session.
"""

from __future__ import annotations

import re

from rune_engine.capture.steps import Command

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TAIL = 20_000

_FAILED = re.compile(
    r"""
    \b[1-9]\d*\ (?:tests?\ )?failed\b | \b[1-9]\d*\ errors?\ in\ \d | \b[1-9]\d*\ errors?,
  | ^=+\ (?:FAILURES|ERRORS)\ =+ | ^FAILED\ \( | Interrupted:\ \d+\ error
  | ^Tests:\s+[1-9]\d*\ failed | ^---\ FAIL | ^FAIL(?:\s|$) | test\ result:\ FAILED
  | \b[1-9]\d*\ failing\b | \b[1-9]\d*\ failures?\b | Failures:\ [1-9] | Errors:\ [1-9]
  | BUILD\ FAILURE | ^FAILURES!$ | ^ERRORS!$ | ^not\ ok\b | ^\#\ fail\ [1-9]
  | \b[1-9]\d*\ tests\ failed\ out\ of
    """,
    re.M | re.X,
)
_PASSED = re.compile(
    r"""
    \b[1-9]\d*\ (?:tests?\ )?passed\b | ^Ran\ [1-9]\d*\ tests?\ in.*\n\nOK | ^ok\s+\S+\s+[\d.(]
  | test\ result:\ ok\.\ [1-9] | \b[1-9]\d*\ passing\b | \b[1-9]\d*\ examples?,\ 0\ failures
  | Tests\ run:\ [1-9]\d*,\ Failures:\ 0,\ Errors:\ 0 | 100%\ tests\ passed | ^OK\ \([1-9]
  | ^\#\ pass\ [1-9] | ^Passed!
    """,
    re.M | re.X,
)
_RAISED = re.compile(r"^Traceback \(most recent call last\):|^\w*Error\b", re.M)
_NOT_ENDED = re.compile(r"timed? ?out|command not found|can't open file|Killed", re.I)
_NOTHING = re.compile(
    r"no tests ran|collected 0 items|^Ran 0 tests|no tests? found"
    r"|No module named \W?(?:pytest|nose)"
    r"|running 0 tests",
    re.M | re.I,
)
_PYTEST_NO_VERDICT = (3, 4, 5)
_NOT_RUN = (126, 127)
_ENDED_EARLY = (124, 130, 134, 137, 143)


def tests_passed(run: Command, *, decisive: bool) -> bool | None:
    """The verdict of a command that ran tests; None when there is none.

    Args:
        decisive: whether the command's exit code is that of the tests.
    """
    said = _ANSI.sub("", f"{run.stdout[-_TAIL:]}\n{run.stderr[-_TAIL:]}")
    if run.checks:
        return _checked(run.exit_code, said)
    failed, passed = bool(_FAILED.search(said)), bool(_PASSED.search(said))
    code = run.exit_code
    if code is not None and (code in _NOT_RUN or code in _ENDED_EARLY or code < 0):
        return None
    if failed:
        return None if decisive and code == 0 else False
    if _NOTHING.search(said) and not passed:
        return None
    if decisive and code is not None:
        if code and not passed and code in _PYTEST_NO_VERDICT and "pytest" in run.text:
            return None
        return code == 0
    return True if passed else None


def _checked(code: int | None, said: str) -> bool | None:
    """The verdict of a program that asserts: it raised, or it ended and did not."""
    if _NOT_ENDED.search(said) or (code is not None and code not in (0, 1)):
        return None
    if _RAISED.search(said):
        return False if "AssertionError" in said and code != 0 else None
    return None if code else True
