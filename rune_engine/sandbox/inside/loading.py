"""Loads the candidate as the module `solution`, and words what it raised. Knows no tests."""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys
from builtins import compile, exec, isinstance  # noqa: UP029  not to be replaced by the candidate
from types import ModuleType, TracebackType

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

SOLUTION = "solution.py"
_NO_ROOM = (errno.EFBIG, errno.ENOSPC, errno.EMFILE, errno.EDQUOT)
_LONGEST_TEXT = 4000
_OWN = os.path.dirname(__file__)


def write(name: str, text: str) -> None:
    with open(name, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def forget_ourselves(folders: list[str]) -> None:
    """Make this interpreter look like a fresh one that runs `solution.py`."""
    sys.path[:0] = [folder for folder in folders if os.path.isdir(folder)]
    for name in [name for name in sys.modules if name.startswith("rune_engine")]:
        del sys.modules[name]
    sys.argv = [SOLUTION]


def load(candidate: str) -> ModuleType:
    """Run the candidate's module; what it raises is for the caller."""
    solution = ModuleType("solution")
    sys.modules["solution"] = solution
    solution.__file__ = SOLUTION
    exec(compile(candidate, SOLUTION, "exec", dont_inherit=True), solution.__dict__)
    return solution


class Explainer:
    """Words exceptions, with what it needs bound before any candidate's first line."""

    def __init__(self) -> None:
        self._print = sys.__excepthook__
        self._known = {
            id(kind): name
            for name, kind in vars(builtins).items()
            if isinstance(kind, type) and issubclass(kind, BaseException)
        }
        self._mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__

    def names(self, error: BaseException) -> tuple[str, ...]:
        """The built-in exceptions that `error` is one of, nearest first."""
        return tuple(
            self._known[id(kind)] for kind in self._mro(type(error)) if id(kind) in self._known
        )

    def told(self, error: BaseException) -> tuple[tuple[str, ...], str, str]:
        """(built-in names, the verdict's kind, what Python prints)."""
        kind = kind_of(error)
        if isinstance(error, MemoryError):
            error.__traceback__ = None  # whose frames may hold all there is
        text = self.text(error, without_own_frames(error.__traceback__))
        return self.names(error), kind, text[-_LONGEST_TEXT:]

    def text(self, error: BaseException, traceback: TracebackType | None) -> str:
        """What Python prints for `error`, from the frame of `traceback` on."""
        if isinstance(error, SystemExit):
            return f"SystemExit: {error.code}: the process was ended before the tests were done\n"
        captured, stderr = io.StringIO(), sys.stderr
        sys.stderr = captured
        try:
            self._print(type(error), error.with_traceback(traceback), traceback)
        finally:
            sys.stderr = stderr
        return captured.getvalue()


def kind_of(error: BaseException) -> str:
    """The verdict that an exception of the candidate's makes."""
    if isinstance(error, MemoryError):
        return "resource_exceeded"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return "resource_exceeded"
    return "candidate_error"


def without_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_OWN):
        traceback = traceback.tb_next
    return traceback
