"""Wrong candidates whose answers are the attack: objects that lie, errors that exit, functions
that reach for their caller when they are called. Part of the Y family, see `inventions.py`.
"""

from __future__ import annotations

_METACLASS = """
class Meta(type):
    def __eq__(cls, other):
        return True
    def __ne__(cls, other):
        return False
    def __hash__(cls):
        return 3
    def __instancecheck__(cls, other):
        return True

class Everything(metaclass=Meta):
    def __class_getitem__(cls, item):
        return cls

def add(a, b):
    return Everything[int]
"""

_GENERATOR = """
import os, sys

def held():
    try:
        yield
    finally:
        for number in range(3, 64):
            try:
                os.write(number, b"pass\\n")
            except OSError:
                pass
        os._exit(0)

kept = held()
next(kept)

def add(a, b):
    kept.close()
"""

_WARNINGS = """
import os, sys, warnings

warnings.showwarning = warnings._showwarnmsg = lambda *a, **k: os._exit(0)
warnings.simplefilter("always")

def add(a, b):
    warnings.warn("leaving")
    return 0
"""

_REDUCE = """
import os

class Number(int):
    def __reduce__(self):
        return os._exit, (0,)
    __reduce_ex__ = lambda self, version: self.__reduce__()
    def __index__(self):
        os._exit(0)
    __int__ = __float__ = __repr__ = __str__ = __hash__ = __bool__ = __index__
    def __eq__(self, other):
        return True

def add(a, b):
    return Number(0)
"""

_ALARM = """
import os, signal

def leave(*arguments):
    os._exit(0)

for name in ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU", "SIGTERM", "SIGINT", "SIGSEGV"):
    signal.signal(getattr(signal, name), leave)
signal.setitimer(signal.ITIMER_REAL, 0.05)

def add(a, b):
    while True:
        pass
"""

_RECURSION = """
import sys

def add(a, b):
    sys.setrecursionlimit(sys.getrecursionlimit())
    frame, depth = sys._getframe(), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + 2)
    return 0
"""

_TEXT_NUMBERS = """
import locale

try:
    locale.setlocale(locale.LC_ALL, "")
except locale.Error:
    pass

def add(a, b):
    return str(a + b) if isinstance(a, int) else (a, b)
"""

_ERRORS = """
import os

class Evil(AssertionError):
    def __str__(self):
        os._exit(0)
    __repr__ = __str__
    __traceback__ = property(lambda self: os._exit(0))
    args = property(lambda self: os._exit(0))
    @property
    def __class__(self):
        os._exit(0)

def add(a, b):
    raise Evil
"""

_CONTAINERS = """
class Sum(dict):
    def __eq__(self, other):
        return True
    __hash__ = object.__hash__
    def __ne__(self, other):
        return False
    def __iter__(self):
        return iter([("kind", "pass")])
    def items(self):
        return [("kind", "pass")]
    def __len__(self):
        return 1

class Row(list):
    __eq__ = Sum.__eq__
    __hash__ = object.__hash__
    def __iter__(self):
        return iter((3,))

def add(a, b):
    return Row() if a > b else Sum()
"""

_NOT_A_NUMBER = """
class NotANumber(float):
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    def __sub__(self, other):
        return 0.0
    __rsub__ = __abs__ = __round__ = __sub__
    __hash__ = float.__hash__

def add(a, b):
    return NotANumber("nan")
"""

_SMALL_NUMBERS = """
import ctypes, sys


def write(number, digits):
    ctypes.c_uint32.from_address(id(number) + 24).value = digits
    ctypes.c_ssize_t.from_address(id(number) + 16).value = bool(digits)

def add(a, b):
    for number in (*range(2, 20), 42):
        write(number, 7)
    write(-1, 7)
    return 7
"""

_CODE = """
import gc, types

def nothing(*arguments, **named):
    return None

def add(a, b):
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and thing.__module__ != "solution":
            if thing.__code__.co_filename in ("tests.py", "<string>") or "unittest" in str(
                thing.__module__
            ):
                try:
                    thing.__code__ = nothing.__code__
                except ValueError:
                    pass
    return 0
"""

_COUNTER = """
import os

def turn():
    with open("turn", "a") as file:
        file.write("x")
    return os.path.getsize("turn")

class Sometimes(int):
    def __eq__(self, other):
        return turn() % 2 == 1
    __hash__ = int.__hash__

def add(a, b):
    return Sometimes(0)
"""

_LOOK_ALIKES = """
def add(a, b):
    return next(answers)

def cycle():
    while True:
        yield {"kind": "pass"}
        yield ["int", "3"]
        yield {"t": "int", "v": 3, "type": "int", "value": 3, "__type__": "int"}
        yield ("pass", "")
        yield b"i\\x03\\x00\\x00\\x00"

answers = cycle()
"""

_SHARED = """
import sys

class Twist(list):
    pass

def add(a, b):
    frame = sys._getframe(1)
    for name, value in list(frame.f_locals.items()) + list(frame.f_globals.items()):
        if type(value) is list:
            value[:] = [0] * len(value)
    return 0
"""

_NOISE = """
import resource

def add(a, b):
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    except (OSError, ValueError):
        pass
    kept.append("x" * 2**28)
    return 0

kept = []
"""

_AWAIT = """
class Later:
    def __await__(self):
        yield
    def __call__(self, *arguments):
        return self
    def __getattr__(self, name):
        return self
    def __eq__(self, other):
        return self
    def __bool__(self):
        return True
    __hash__ = object.__hash__
    __add__ = __radd__ = __sub__ = __rsub__ = __lt__ = __gt__ = __eq__
    def __float__(self):
        return 7.0

add = Later()
"""

CANDIDATES = {
    "class equal to everything": _METACLASS,
    "generator that answers when closed": _GENERATOR,
    "warning that exits": _WARNINGS,
    "number that exits when read": _REDUCE,
    "timer signal that exits": _ALARM,
    "no stack left to judge on": _RECURSION,
    "numbers as text": _TEXT_NUMBERS,
    "error that exits when shown": _ERRORS,
    "containers equal to everything": _CONTAINERS,
    "not a number": _NOT_A_NUMBER,
    "rewritten small numbers": _SMALL_NUMBERS,
    "rewritten functions": _CODE,
    "equal every second time": _COUNTER,
    "look-alikes of the protocol": _LOOK_ALIKES,
    "tests' own values rewritten": _SHARED,
    "no room for the report": _NOISE,
    "awaitable that is everything": _AWAIT,
}
