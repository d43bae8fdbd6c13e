"""A plugin of pytest's that tells the engine what was collected and how each test ended.

What is reported of a call comes from around the call itself, not from pytest's reports, which the
candidate's code can change; who reads compares the two. Imported by pytest_boot.py, which finds it
beside itself; knows nothing of ours.
"""

from __future__ import annotations

import inspect
import time

import pytest

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

_LONGEST_TEXT = 4000
# Bound before any candidate's first line.
_wall, _cpu, _is_async = time.monotonic, time.process_time, inspect.iscoroutinefunction


class Reporter:
    """Sends a record of each thing that happens.

    `run` runs a coroutine to its end, where no plugin does: for tests that are async functions.
    """

    def __init__(
        self,
        send: Callable[..., None],
        backwards: bool,
        work: str,
        run: Callable[..., object] | None,
    ) -> None:
        self._send = send
        self._backwards = backwards
        self._work = work
        self._run = run
        self._returned: dict[str, bool] = {}
        self._raised: dict[str, str] = {}
        self._phases: dict[str, list[str]] = {}
        self._began = (0.0, 0.0)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._backwards:
            items.reverse()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._send("collected", [item.nodeid for item in session.items])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.outcome != "passed":
            text = str(report.longreprtext)[-_LONGEST_TEXT:]
            self._send("uncollected", collector.nodeid, report.outcome, _missing(report), text)
        return report

    def pytest_runtest_logstart(self) -> None:
        self._began = (_wall(), _cpu())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        if self._run is not None and _is_async(pyfuncitem.obj):
            pyfuncitem.obj = _synchronous(pyfuncitem.obj, self._run)
        self._returned[pyfuncitem.nodeid] = False
        result = yield
        self._returned[pyfuncitem.nodeid] = True
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.excinfo is not None:
            self._raised.setdefault(item.nodeid, _kind(call.excinfo.value, self._work))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._phases.setdefault(report.nodeid, []).append(report.outcome)
        if report.outcome == "failed":
            kind = self._raised.get(report.nodeid, "fail")
            self._send("failed", report.nodeid, kind, str(report.longreprtext)[-_LONGEST_TEXT:])
        elif report.outcome == "skipped" or hasattr(report, "wasxfail"):
            self._send("skipped", report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        raised, phases = nodeid in self._raised, self._phases.get(nodeid, [])
        seconds = [now - began for now, began in zip((_wall(), _cpu()), self._began, strict=True)]
        self._send("ran", nodeid, self._returned.get(nodeid), raised, phases, *seconds)


def _synchronous(function: Callable[..., Any], run: Callable[..., object]) -> Callable[..., object]:
    def call(**arguments: Any) -> object:
        return run(function(**arguments))

    return call


def _missing(report: pytest.CollectReport) -> str | None:
    """The module that is not there, where that is why a file could not be collected."""
    call = getattr(report, "call", None)
    error = call.excinfo.value if call is not None and call.excinfo else None
    cause = error.__cause__ if error is not None else None
    return cause.name if isinstance(cause, ModuleNotFoundError) else None


def _kind(error: BaseException, work: str) -> str:
    """The verdict that what a test raised makes."""
    if isinstance(error, MemoryError):
        return "resource_exceeded"
    if type(error).__name__ == "FixtureLookupError":
        return "infra"
    frame, name = error.__traceback__, ""
    while frame is not None:
        name, frame = frame.tb_frame.f_code.co_filename, frame.tb_next
    asserted = isinstance(error, (AssertionError, pytest.fail.Exception))
    return "fail" if asserted and not name.startswith(work) else "candidate_error"
