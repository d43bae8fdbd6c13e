"""Runs the candidate, then its tests, in this process, and reports once how that ended.

It trusts nothing after the candidate's first line: what it needs is bound before, and only its
report counts, never an exit code or what was printed. The report is a secret word, a kind and a
message on a pipe. Tests share the candidate's process in this version, so a candidate that reads
this module's frames can still forge a report; see `Evidence.in_process`.
"""

from __future__ import annotations

import errno
import io
import os
import sys

# Into this module's globals, where the candidate's changes to `builtins` do not reach.
from builtins import compile, exec, getattr, hasattr, isinstance, issubclass, open  # noqa: UP029
from contextlib import suppress
from types import ModuleType, TracebackType

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any

_LONGEST_MESSAGE = 4000
_NO_ROOM = (errno.EFBIG, errno.ENOSPC, errno.EMFILE, errno.EDQUOT)
_SOLUTION, _TESTS = "solution.py", "tests.py"
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"

Ending = tuple[str, str]
"""A verdict's kind and its message."""


def prepare(candidate: str) -> None:
    """Write the candidate where tracebacks find its lines."""
    _write(_SOLUTION, candidate)


def _write(name: str, text: str) -> None:
    with open(name, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def run(payload: dict[str, Any], folders: list[str], verdict_fd: int, child_index: int) -> None:
    """Run `payload["candidate"]` and `payload["tests"]`, report, and end the process."""
    leave, send = os._exit, os.write
    secret: bytes = payload.pop("secret")
    sys.path[:0] = [folder for folder in folders if os.path.isdir(folder)]
    for name in [name for name in sys.modules if name.startswith("rune_engine")]:
        del sys.modules[name]
    sys.argv = [_SOLUTION]
    streams = (sys.stdout, sys.stderr)
    kind, message = _ending(payload["candidate"], payload["tests"], payload["to_call"])
    for stream in streams:
        with suppress(OSError, ValueError):  # closed by the candidate
            stream.flush()
    text = f"{kind}\n{message[-_LONGEST_MESSAGE:]}".encode("utf-8", "replace")
    send(verdict_fd, secret + text)
    leave(0)


def _ending(candidate: str, tests: str, to_call: list[str]) -> Ending:
    explain = _Explainer(tests)
    tests_code = compile(tests, _TESTS, "exec", dont_inherit=True)
    solution, test_module = ModuleType("solution"), ModuleType("tests")
    sys.modules.update(solution=solution, tests=test_module)
    try:
        solution.__file__ = _SOLUTION
        exec(compile(candidate, _SOLUTION, "exec", dont_inherit=True), solution.__dict__)
    except BaseException as error:  # noqa: BLE001  the driver: failures become the report
        return explain(error, testing=False)
    scope = test_module.__dict__
    scope.update({**solution.__dict__, "__name__": "tests", "__file__": _TESTS})
    try:
        exec(tests_code, scope)
        cases = _unittest_cases(scope)
        _call_tests(scope, to_call, cases)
        return _unittest_ending(cases, tests)
    except BaseException as error:  # noqa: BLE001  the driver: failures become the report
        return explain(error, testing=True)


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


def _call_tests(scope: dict[str, Any], to_call: list[str], cases: list[type]) -> None:
    """Call the functions and methods that pytest would, as the engine listed them."""
    for name in to_call:
        owner, _, method = name.rpartition(".")
        if not owner:
            _finish(scope[method]())
        elif scope[owner] not in cases:
            instance = scope[owner]()
            getattr(instance, "setup_method", lambda: None)()
            _finish(getattr(instance, method)())


def _finish(result: object) -> None:
    if hasattr(result, "__await__"):
        import asyncio

        asyncio.run(result)  # type: ignore[arg-type]


def _unittest_ending(cases: list[type], tests: str) -> Ending:
    if not cases:
        return "pass", ""
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
    return "pass", ""


def _told(kind: str, text: str) -> Ending:
    os.write(2, text.encode("utf-8", "replace"))
    return kind, text


class _Explainer:
    """Turns an exception into an ending, with the traceback that Python itself would print."""

    def __init__(self, tests: str) -> None:
        self._tests = tests
        self._print = sys.__excepthook__

    def __call__(self, error: BaseException, *, testing: bool) -> Ending:
        if isinstance(error, MemoryError):
            error.__traceback__ = None  # whose frames may hold all there is
            return _told("resource_exceeded", "MemoryError: the memory limit was reached\n")
        traceback = _without_this_file(error.__traceback__)
        if testing:  # only now, so that no candidate finds the tests in its folder
            with suppress(OSError):  # no room left
                _write(_TESTS, self._tests)
        return _told(_kind(error, traceback, testing), self._natural(error, traceback))

    def _natural(self, error: BaseException, traceback: TracebackType | None) -> str:
        if isinstance(error, SystemExit):
            return f"SystemExit: {error.code}: the process was ended before the tests were done\n"
        captured, stderr = io.StringIO(), sys.stderr
        sys.stderr = captured
        self._print(type(error), error.with_traceback(traceback), traceback)
        sys.stderr = stderr
        return captured.getvalue()


def _without_this_file(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    return traceback


def _innermost(traceback: TracebackType | None) -> str:
    name = ""
    while traceback is not None:
        name, traceback = traceback.tb_frame.f_code.co_filename, traceback.tb_next
    return name


def _kind(error: BaseException, traceback: TracebackType | None, testing: bool) -> str:
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return "resource_exceeded"
    if not testing:
        return "candidate_error"
    where = _innermost(traceback)
    if isinstance(error, AssertionError) and where != _SOLUTION:
        return "fail"
    if isinstance(error, ModuleNotFoundError) and where in (_TESTS, _IMPORT_SYSTEM):
        # The tests need something that is not here, unless the candidate broke the import.
        return "candidate_error" if error.name in sys.stdlib_module_names else "infra"
    return "candidate_error"
