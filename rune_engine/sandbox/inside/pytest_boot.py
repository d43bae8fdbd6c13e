"""Runs pytest on trusted files, and tells the engine what was collected and how each test ended.

    python -P -s -B pytest_boot.py SECRET_FD VERDICT_FD OPTIONS

A program of its own: nothing of ours can be imported where it runs. The candidate's folders are put
on the path only when pytest is loaded, after the standard library, so that they replace neither.
What is reported of a call comes from around the call itself, not from pytest's reports, which the
candidate's code can change; who reads compares the two. Every record bears the run's secret.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    import pytest

_WORK, _TESTS, _OURS = "/rune/work", "/rune/tests", "/rune/tests/_rune"
_FOLDERS = [_WORK, f"{_WORK}/src"]
_LONGEST_TEXT = 4000


def _sender(secret: bytes, handle: int) -> Callable[..., None]:
    write, encode = os.write, json.JSONEncoder().encode

    def send(*record: Any) -> None:
        data = secret + encode(record).encode() + b"\n"
        while data:
            data = data[write(handle, data) :]

    return send


def _show_candidate() -> None:
    """On the path between the standard library and what is installed, here and in programs."""
    at = [place for place, folder in enumerate(sys.path) if "site-packages" in folder]
    at.append(len(sys.path))
    sys.path[at[0] : at[0]] = [folder for folder in _FOLDERS if os.path.isdir(folder)]
    os.environ["PYTHONPATH"] = ":".join(_FOLDERS)
    os.chdir(_WORK)


def _arguments(options: dict[str, Any]) -> list[str]:
    flags = ["-q", "--tb=short", "--color=no", "--no-header", "--import-mode=importlib"]
    flags += ["-p", "no:cacheprovider", "-c", f"{_OURS}/pytest.ini", f"--rootdir={_TESTS}"]
    flags += [f"--confcutdir={_TESTS}", "--basetemp=/box/pytest"]
    flags += [] if options["conftest"] else ["--noconftest"]
    return flags + [f"{_TESTS}/{name}" for name in options["tests"]]


def _kind(error: BaseException, failed: type[BaseException]) -> str:
    """The verdict that what a test raised makes."""
    if isinstance(error, MemoryError):
        return "resource_exceeded"
    if type(error).__name__ == "FixtureLookupError":
        return "infra"
    frame, name = error.__traceback__, ""
    while frame is not None:
        name, frame = frame.tb_frame.f_code.co_filename, frame.tb_next
    asserted = isinstance(error, (AssertionError, failed)) and not name.startswith(_WORK)
    return "fail" if asserted else "candidate_error"


def _reporter(send: Callable[..., None], backwards: bool) -> object:
    import pytest

    class Reporter:
        def __init__(self) -> None:
            self._returned: dict[str, bool] = {}
            self._raised: dict[str, str] = {}
            self._phases: dict[str, list[str]] = {}

        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            if backwards:
                items.reverse()

        def pytest_collection_finish(self, session: pytest.Session) -> None:
            send("collected", [item.nodeid for item in session.items])

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_make_collect_report(
            self, collector: pytest.Collector
        ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
            report = yield
            if report.outcome != "passed":
                call = getattr(report, "call", None)
                error = call.excinfo.value if call is not None and call.excinfo else None
                cause = error.__cause__ if error is not None else None
                missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
                text = str(report.longreprtext)[-_LONGEST_TEXT:]
                send("uncollected", collector.nodeid, report.outcome, missing, text)
            return report

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_pyfunc_call(
            self, pyfuncitem: pytest.Function
        ) -> Generator[None, object, object]:
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
                self._raised.setdefault(
                    item.nodeid, _kind(call.excinfo.value, pytest.fail.Exception)
                )
            return report

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            self._phases.setdefault(report.nodeid, []).append(report.outcome)
            if report.outcome == "failed":
                kind = self._raised.get(report.nodeid, "fail")
                send("failed", report.nodeid, kind, str(report.longreprtext)[-_LONGEST_TEXT:])
            elif report.outcome == "skipped" or hasattr(report, "wasxfail"):
                send("skipped", report.nodeid)

        def pytest_runtest_logfinish(self, nodeid: str) -> None:
            raised, phases = nodeid in self._raised, self._phases.get(nodeid, [])
            send("ran", nodeid, self._returned.get(nodeid), raised, phases)

    return Reporter()


def main() -> None:
    leave = os._exit
    secret_handle, verdict = int(sys.argv[1]), int(sys.argv[2])
    options = json.loads(sys.argv[3])
    send = _sender(os.read(secret_handle, 1024), verdict)
    os.close(secret_handle)
    os.set_inheritable(verdict, False)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        import pytest
    except ImportError:
        send("no pytest")
        leave(0)
    send("started")
    reporter = _reporter(send, options["backwards"])
    _show_candidate()
    sys.argv[1:] = []
    status = int(pytest.main(_arguments(options), plugins=[reporter]))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        send("finished", status)
        leave(status)


if __name__ == "__main__":
    main()
