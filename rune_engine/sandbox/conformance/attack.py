"""What an attack is: a real program, and the effect outside that it is after.

Knows neither the sandbox nor how effects are looked for (`scene.py`, `machine.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TESTS = "assert done() == 1\n"
"""The tests of every attack on the outside; the attack is over before they are judged."""

TESTS_WITH_A_SECRET = 'assert done() == 1\nassert word() == "$expected"\n'
"""Tests that expect what the candidate must not be able to find out."""

_PREAMBLE = """\
import ctypes, os, signal, socket, struct, sys, threading, time

TARGET = {target!r}
libc = ctypes.CDLL(None, use_errno=True)
if sys.platform == "linux":
    libc.prctl(15, TARGET["name"].encode(), 0, 0, 0)


def attempt(action, *arguments):
    try:
        print(repr(action(*arguments)), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)


def done():
    return 1


def word():
    return ""


"""


@dataclass(frozen=True, slots=True)
class Attack:
    """A program that attacks what is outside of it.

    Attributes:
        id: the requirement that it tries to break.
        name: tells the attacks of one requirement apart.
        program: Python that finds `TARGET` (see `Scene.target`), `attempt` and `libc` defined.
        effect: what it does to the scene where nothing confines it; empty where that cannot be
            shown, and then `not_bare` says why.
        then: a second program for the next run, that looks for what the first has left.
        alone: whether other attacks must wait, because it is after what all of them share.
        endless: whether it only ends when it is ended.
    """

    id: str
    name: str
    program: str
    effect: str = ""
    not_bare: str = ""
    then: str = ""
    alone: bool = False
    endless: bool = False
    tests: str = TESTS

    @property
    def label(self) -> str:
        return f"{self.id} {self.name}"


@dataclass(frozen=True, slots=True)
class Forgery:
    """A wrong candidate for `add(a, b)` that tries to pass; `tests` where it needs its own."""

    id: str
    name: str
    candidate: str
    tests: str = ""

    @property
    def label(self) -> str:
        return f"{self.id} {self.name}"


def program(code: str, target: dict[str, Any]) -> str:
    """The whole candidate: the targets, then the attack."""
    return _PREAMBLE.format(target=target) + code.strip("\n") + "\n"
