"""Children of a prepared process: everything is imported before the fork, nothing is opened.

A child says lines through a pipe, so what it said before it was killed is known. Knows no store.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Say = Callable[[str], None]
"""Writes one line to the parent, at once."""


@dataclass
class Child:
    """A forked process and the pipe it speaks through."""

    pid: int
    pipe: int
    exit_code: int | None = None
    _said: bytes = field(default=b"", repr=False)

    def line(self) -> str:
        """Its next line; an empty one when it has ended."""
        while b"\n" not in self._said and (chunk := os.read(self.pipe, 65536)):
            self._said += chunk
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def so_far(self) -> list[str]:
        """Every whole line that it has said by now and that was not read yet."""
        while select.select([self.pipe], [], [], 0)[0] and (chunk := os.read(self.pipe, 65536)):
            self._said += chunk
        *lines, self._said = self._said.split(b"\n")
        return [line.decode() for line in lines]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> list[str]:
        """Wait until it is gone; every whole line that was not read yet."""
        while chunk := os.read(self.pipe, 65536):
            self._said += chunk
        os.close(self.pipe)
        if self.exit_code is None:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return [line.decode() for line in self._said.split(b"\n")[:-1]]


def start(work: Callable[[Say], None]) -> Child:
    """Do `work` in a child, which ends with it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    try:
        os.close(reading)
        work(lambda text: void(os.write(writing, text.encode() + b"\n")))
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


def call(work: Callable[[], Any]) -> Any:
    """What `work` answers in a child, as JSON carries it.

    Raises:
        AssertionError: it failed; its traceback is on stderr.
    """
    child = start(lambda say: say(json.dumps(work())))
    lines = child.end()
    assert child.exit_code == 0 and len(lines) == 1, f"a child ended with {child.exit_code}"
    return json.loads(lines[0])


def import_for(work: Callable[[], object]) -> None:
    """Import here what a child had to import for `work`, so that the next ones need not."""

    def added() -> list[str]:
        before = set(sys.modules)
        work()
        return sorted(set(sys.modules) - before)

    for name in call(added):
        with suppress(ImportError):  # such as a module that only its importer knows
            importlib.import_module(name)


def void(_value: object) -> None:
    """Takes a value that nobody needs."""
