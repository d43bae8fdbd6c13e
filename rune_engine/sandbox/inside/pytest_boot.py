"""Runs pytest on trusted files, and tells the engine what came of it (pytest_reporter.py).

    python -P -s -B pytest_boot.py SECRET_FD VERDICT_FD OPTIONS

A program of its own: nothing of ours can be imported where it runs but what lies beside it. The
candidate's folders are put on the path only when pytest is loaded, after the standard library, so
that they replace neither. Every record bears the run's secret.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_WORK, _TESTS, _OURS = "/rune/work", "/rune/tests", "/rune/tests/_rune"
_FOLDERS = [_WORK, f"{_WORK}/src"]


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


def _arguments(options: dict[str, Any], settings: list[str]) -> list[str]:
    flags = ["-q", "--tb=short", "--color=no", "--no-header", "--import-mode=importlib"]
    flags += ["-p", "no:cacheprovider", "-c", f"{_OURS}/pytest.ini", f"--rootdir={_TESTS}"]
    flags += [f"--confcutdir={_TESTS}", "--basetemp=/box/pytest", *settings]
    flags += [] if options["conftest"] else ["--noconftest"]
    return flags + [f"{_TESTS}/{name}" for name in options["tests"]]


def _plugins(send: Callable[..., None], options: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Ours, and pytest-asyncio where there are async tests and it is installed; its settings."""
    sys.path.insert(0, _OURS)
    import pytest_reporter  # type: ignore[import-not-found]

    del sys.path[0]
    run: Callable[..., Any] | None = None
    others: list[Any] = []
    settings: list[str] = []
    if options["async"]:
        try:
            from pytest_asyncio import plugin

            others, settings = [plugin], ["-o", "asyncio_mode=auto"]
        except ImportError:
            import asyncio

            run = asyncio.run
    reporter = pytest_reporter.Reporter(send, options["backwards"], _WORK, run)
    return [reporter, *others], settings


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
    plugins, settings = _plugins(send, options)
    if options["async_fixtures"] and not settings:
        send("no plugin")
        leave(0)
    send("started")
    _show_candidate()
    sys.argv[1:] = []
    status = int(pytest.main(_arguments(options, settings), plugins=plugins))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        send("finished", status)
        leave(status)


if __name__ == "__main__":
    main()
