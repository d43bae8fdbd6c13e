"""Runs what one child of a run has to run, and reports once how that ended.

Pytest runs in an interpreter of its own (pytest_start.py). Of the rest there are
three ways, from the strongest: one call of a compiled suite (calls.py: nothing of the tests is
here); the tests here and the candidate in a sister process (beside.py); the tests in the
candidate's own process, where objects have to cross. In the last, a candidate that reads this
module's frames can forge a report; see `Evidence.oracle`. The report is a secret word, a kind and
a message on a pipe; never an exit code, never what was printed.
"""

from __future__ import annotations

import io
import os
import sys

# Into this module's globals, where the candidate's changes to `builtins` do not reach.
from builtins import compile, exec, getattr, hasattr, isinstance, issubclass  # noqa: UP029
from contextlib import suppress
from types import ModuleType, TracebackType

from rune_engine.sandbox.inside import beside, calls, loading, pytest_start

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LONGEST_MESSAGE = 4000
_TESTS = "tests.py"
_HEAD = "Traceback (most recent call last):\n"
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"

Ending = tuple[str, str]
"""A verdict's kind and its message."""

_sister: beside.Sister | None = None


def prepare(payload: dict[str, Any], folders: list[str], confine: Callable[[], None]) -> None:
    """Before this process is confined: write the candidate where tracebacks find its lines, and
    start the sister process where the tests have one."""
    global _sister
    if "pytest" in payload:
        return
    loading.write(loading.SOLUTION, payload["candidate"])
    if payload.get("beside"):
        _sister = beside.start(payload, folders, confine)


def run(payload: dict[str, Any], folders: list[str], verdict_fd: int, child_index: int) -> None:
    """Do this child's part of `payload`, report, and end the process."""
    if "pytest" in payload:
        pytest_start.run(payload, verdict_fd)
    if "cases" in payload:
        calls.run(payload, folders, verdict_fd, child_index)
    leave, send = os._exit, os.write
    secret, candidate, tests = payload["secret"], payload["candidate"], payload["tests"]
    to_call, names = payload["to_call"], payload.get("names", [])
    payload.clear()
    loading.forget_ourselves(folders)
    streams = (sys.stdout, sys.stderr)
    kind, message = _ending(candidate, tests, to_call, names)
    for stream in streams:
        with suppress(OSError, ValueError):  # closed by the candidate
            stream.flush()
    text = f"{kind}\n{message[-_LONGEST_MESSAGE:]}".encode("utf-8", "replace")
    send(verdict_fd, secret + text)
    leave(0)


def _ending(candidate: str, tests: str, to_call: list[str], names: list[str]) -> Ending:
    explain = _Explainer(tests)
    tests_code = compile(tests, _TESTS, "exec", dont_inherit=True)
    test_module = ModuleType("tests")
    sys.modules["tests"] = test_module
    scope = test_module.__dict__
    try:
        scope.update(_names_of_sister(_sister, names) if _sister else _names_here(candidate))
    except BaseException as error:  # noqa: BLE001  the driver: failures become the report
        return explain(error, testing=False)
    scope.update({"__name__": "tests", "__file__": _TESTS})
    try:
        exec(tests_code, scope)
        cases = _unittest_cases(scope)
        called = _call_tests(scope, to_call, cases)
        ending = _unittest_ending(cases, tests, called)
    except BaseException as error:  # noqa: BLE001  the driver: failures become the report
        ending = explain(error, testing=True)
    if _sister is not None and _sister.gone is not None:
        return "gone", str(_sister.gone)  # whatever the tests made of it
    return ending


def _names_here(candidate: str) -> dict[str, Any]:
    return loading.load(candidate).__dict__


def _names_of_sister(sister: beside.Sister, names: list[str]) -> dict[str, Any]:
    sister.loaded()
    proxies = {name: _proxy(sister, name) for name in names}
    solution = ModuleType("solution")
    solution.__dict__.update(proxies)
    sys.modules["solution"] = solution
    return proxies


def _proxy(sister: beside.Sister, name: str) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        return sister.call(name, args, kwargs)

    function.__name__ = function.__qualname__ = name
    return function


def _unittest_cases(scope: dict[str, Any]) -> list[type]:
    """The `unittest.TestCase` classes that the tests themselves define."""
    unittest = sys.modules.get("unittest")
    if unittest is None:
        return []
    return [
        value
        for value in scope.values()
        if isinstance(value, type)
        and issubclass(value, unittest.TestCase)
        and value.__module__ == "tests"
    ]


def _call_tests(scope: dict[str, Any], to_call: list[str], cases: list[type]) -> int:
    """Call the functions and methods that pytest would, as the engine listed them; how many."""
    called = 0
    for name in to_call:
        owner, _, method = name.rpartition(".")
        if not owner:
            _finish(scope[method]())
        elif scope[owner] not in cases:
            instance = scope[owner]()
            getattr(instance, "setup_method", lambda: None)()
            _finish(getattr(instance, method)())
        else:
            continue
        called += 1
    return called


def _finish(result: object) -> None:
    if hasattr(result, "__await__"):
        import asyncio

        asyncio.run(result)  # type: ignore[arg-type]


def _unittest_ending(cases: list[type], tests: str, called: int) -> Ending:
    if not cases:
        return "pass", str(called)
    import linecache
    import unittest

    linecache.cache[_TESTS] = (len(tests), None, tests.splitlines(keepends=True), _TESTS)

    loader, notes = unittest.defaultTestLoader, io.StringIO()
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
    result = unittest.TextTestRunner(stream=notes).run(suite)
    text = notes.getvalue()
    if result.failures or result.unexpectedSuccesses:
        return _told("fail", text)
    if result.errors:
        return _told("candidate_error", text)
    if result.skipped or not result.testsRun:
        return _told("infra", f"Tests were skipped, or there were none.\n{text}")
    return "pass", str(called + result.testsRun)


def _told(kind: str, text: str) -> Ending:
    os.write(2, text.encode("utf-8", "replace"))
    return kind, text


class _Explainer:
    """Turns an exception into an ending, with the traceback that Python itself would print."""

    def __init__(self, tests: str) -> None:
        self._tests = tests
        self._explain = loading.Explainer()

    def __call__(self, error: BaseException, *, testing: bool) -> Ending:
        if isinstance(error, beside.DoesNotCross):
            return "crosses", ""
        remote = _sister.remotes.get(id(error)) if _sister is not None else None
        if remote is None and isinstance(error, MemoryError):
            error.__traceback__ = None  # whose frames may hold all there is
            return _told("resource_exceeded", "MemoryError: the memory limit was reached\n")
        if testing:  # only now, so that no candidate finds the tests in its folder
            with suppress(OSError):  # no room left
                loading.write(_TESTS, self._tests)
        if remote is not None:
            text = remote.text.removeprefix(_HEAD)
            return _told(remote.kind, self._above(error) + text if testing else remote.text)
        traceback = loading.without_own_frames(error.__traceback__)
        text = self._explain.text(error, traceback)
        return _told(_kind(error, traceback, testing), text)

    def _above(self, error: BaseException) -> str:
        """The frames of the tests that led to a call of the sister's."""
        traceback = loading.without_own_frames(error.__traceback__)
        text = self._explain.text(ValueError(), _until_own(traceback)) if traceback else ""
        return text.removesuffix("ValueError\n") or _HEAD


def _until_own(traceback: TracebackType) -> TracebackType:
    rest = traceback.tb_next
    if rest is None or loading.without_own_frames(rest) is not rest:
        rest = None
    return TracebackType(
        _until_own(rest) if rest else None,
        traceback.tb_frame,
        traceback.tb_lasti,
        traceback.tb_lineno,
    )


def _innermost(traceback: TracebackType | None) -> str:
    name = ""
    while traceback is not None:
        name, traceback = traceback.tb_frame.f_code.co_filename, traceback.tb_next
    return name


def _kind(error: BaseException, traceback: TracebackType | None, testing: bool) -> str:
    kind = loading.kind_of(error)
    if not testing or kind != "candidate_error":
        return kind
    where = _innermost(traceback)
    if isinstance(error, AssertionError) and where != loading.SOLUTION:
        return "fail"
    if isinstance(error, ModuleNotFoundError) and where in (_TESTS, _IMPORT_SYSTEM):
        # The tests need something that is not here, unless the candidate broke the import.
        return "candidate_error" if error.name in sys.stdlib_module_names else "infra"
    return "candidate_error"
