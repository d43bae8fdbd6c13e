"""The tests in this process, the candidate in a sister process: only values go between the two.

The sister is forked before anything is confined, forgets the tests, is confined by the same walls,
and answers calls. It cannot read this process (which is not dumpable) nor the pipe of the verdict.
"""

from __future__ import annotations

import builtins
import os
import sys
from contextlib import suppress
from itertools import islice
from types import GeneratorType, ModuleType

from rune_engine.sandbox.inside import handles, loading, values

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_MOST_FROM_ITERATOR = 10_000
_HARMLESS_BYTES = 64 * 1024
_ITERATORS = (GeneratorType, map, filter, zip, enumerate, reversed)


class Gone(BaseException):
    """The sister ended: with which code, after how many seconds of processor time."""

    def __init__(self, code: int, cpu_seconds: float) -> None:
        super().__init__(f"{code} {cpu_seconds:.3f}")


class DoesNotCross(BaseException):
    """The tests passed an object that is no plain value: they need the candidate's process."""


class Items:
    """What an iterator of the candidate's gave; can be read here, not passed on."""

    def __init__(self, items: list[Any]) -> None:
        self._items = iter(items)

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        return next(self._items)


class Remote:
    """What an exception in the sister was, kept beside its copy here."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text


class Sister:
    """This side of the pipe to the process that holds the candidate."""

    def __init__(self, pid: int, reading: int, writing: int) -> None:
        self._pid = pid
        self._reading = reading
        self._writing = writing
        self.remotes: dict[int, Remote] = {}
        self._kept: list[BaseException] = []
        self._received = 0
        self.gone: Gone | None = None

    def loaded(self) -> None:
        """Wait until the candidate is loaded; raises what it raised."""
        self._result(self._receive())

    def call(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        request = (function, args, kwargs)
        _check_crosses(request, self._received)
        self._send(values.encode(request))
        result = self._result(self._receive())
        after = values.decode(self._receive())
        for mine, theirs in zip(args, after, strict=True):
            _update(mine, theirs)
        return result

    def _send(self, data: bytes) -> None:
        try:
            _write_frame(self._writing, data)
        except BrokenPipeError:
            self._ended()

    def _receive(self) -> bytes:
        data = _read_frame(self._reading)
        if data is None:
            self._ended()
        self._received += len(data)
        return data

    def _ended(self) -> NoReturn:
        os.close(self._writing)
        _, status, usage = os.wait4(self._pid, 0)
        self.gone = Gone(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
        raise self.gone

    def _result(self, report: bytes) -> Any:
        kind, _, body = report.partition(b"\n")
        if kind == b"value":
            return values.decode(body)
        if kind == b"iterator":
            return Items(values.decode(body))
        names, verdict, text = values.decode(body)
        error = _copy_of(names, text)
        self._kept.append(error)
        self.remotes[id(error)] = Remote(verdict, text)
        raise error


def _copy_of(names: tuple[str, ...], text: str) -> BaseException:
    last = text.strip().splitlines()[-1:] or [""]
    shown, _, message = last[0].partition(": ")
    kind: type[BaseException] = getattr(builtins, names[0]) if names else Exception
    if kind.__name__ != shown:
        kind = type(shown.rpartition(".")[2] or "Exception", (kind,), {})
    error = kind.__new__(kind)
    error.args = (message,) if message else ()
    if isinstance(error, SystemExit):
        error.code = message
    return error


def _check_crosses(request: Any, received: int) -> None:
    """Nothing that came from the candidate may make the tests move into its process."""
    pending = [request]
    while pending:
        value = pending.pop()
        if isinstance(value, values.Opaque | Items):
            raise AssertionError(f"{value!r} cannot be passed on")
        if isinstance(value, list | tuple | set | frozenset):
            pending += value
        elif isinstance(value, dict):
            pending += [*value, *value.values()]
    crossed = values.decode(values.encode(request))
    if isinstance(crossed, values.Opaque) and received > _HARMLESS_BYTES:
        raise AssertionError("it is too large to be passed on")  # and may be so on purpose
    if _opaque_inside(crossed):
        raise DoesNotCross


def _opaque_inside(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return any(_opaque_inside(item) for item in value)
    if isinstance(value, dict):
        return any(_opaque_inside(item) for pair in value.items() for item in pair)
    return isinstance(value, values.Opaque)


def _update(mine: Any, theirs: Any) -> None:
    """What the candidate did to an argument, done to ours."""
    if type(mine) is not type(theirs) or values.same(mine, theirs):
        return
    if type(mine) is list:
        mine[:] = theirs
    elif type(mine) in (dict, set):
        mine.clear()
        mine.update(theirs)


def start(payload: dict[str, Any], folders: list[str], confine: Callable[[], None]) -> Sister:
    """Fork the sister. In it, this never returns."""
    if sys.platform == "linux":
        from rune_engine.sandbox.inside import libc

        libc.prctl(libc.PR_SET_DUMPABLE, 0)  # neither reads the other's memory or descriptors
    to_sister, from_us = os.pipe()
    from_sister, to_us = os.pipe()
    pid = os.fork()
    if pid:
        os.close(to_sister)
        os.close(to_us)
        return Sister(pid, from_sister, from_us)
    handles.close_all_but(to_sister, to_us)
    confine()
    candidate = payload["candidate"]
    payload.clear()  # it is all that this process has of the tests
    _serve(candidate, folders, to_sister, to_us)


def _serve(candidate: str, folders: list[str], reading: int, writing: int) -> NoReturn:
    leave, explain = os._exit, loading.Explainer()
    loading.forget_ourselves(folders)
    try:
        solution = loading.load(candidate)
        report = b"value\n" + values.encode(None)
    except BaseException as error:  # noqa: BLE001  the driver: failures become the report
        report = b"raised\n" + values.encode(explain.told(error))
        solution = ModuleType("solution")
    _flush()
    _write_frame(writing, report)
    while (request := _read_frame(reading)) is not None:
        function, args, kwargs = values.decode(request)
        report = _answer(solution, function, args, kwargs, explain)
        _flush()
        _write_frame(writing, report)
        _write_frame(writing, values.encode(args))
    leave(0)


def _answer(
    solution: ModuleType,
    function: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    explain: loading.Explainer,
) -> bytes:
    try:
        if not hasattr(solution, function):
            raise NameError(f"name '{function}' is not defined")
        result = getattr(solution, function)(*args, **kwargs)
        if type(result) in _ITERATORS:
            return b"iterator\n" + values.encode(list(islice(result, _MOST_FROM_ITERATOR)))
        return b"value\n" + values.encode(result)
    except BaseException as error:  # noqa: BLE001  the driver: failures become the report
        return b"raised\n" + values.encode(explain.told(error))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _write_frame(handle: int, data: bytes) -> None:
    body = memoryview(len(data).to_bytes(4, "big") + data)
    while body:
        body = body[os.write(handle, body) :]


def _read_frame(handle: int) -> bytes | None:
    """The next frame, or None where the other side is gone."""
    head = _read_exactly(handle, 4)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    return _read_exactly(handle, size) if size <= 2 * values.MOST_BYTES else None


def _read_exactly(handle: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = os.read(handle, size - len(data))
        if not more:
            return None
        data += more
    return data
