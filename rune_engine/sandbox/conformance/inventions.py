"""Y: forgeries of our own invention, for graders that know the usual ones. None may pass."""

from __future__ import annotations

from rune_engine.sandbox.conformance.attack import Forgery
from rune_engine.sandbox.conformance.forgeries import WRONG

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

_LAST_WORDS = """
import os, sys, threading

class Last:
    def __del__(self):
        for number in range(3, 64):
            try:
                os.write(number, b"pass\\n")
            except OSError:
                pass
        os._exit(0)

sys.last_words = Last()
sys.exitfunc = lambda: os._exit(0)
threading._register_atexit(os._exit, 0)
loop = [Last()]
loop.append(loop)
del loop
"""

_SERIALISERS = """
import io, json, json.encoder, json.decoder, marshal, struct

json.dumps = json.encoder.JSONEncoder.encode = lambda *a, **k: '"pass"'
json.loads = json.decoder.JSONDecoder.decode = lambda *a, **k: 3
marshal.dumps = lambda *a: b"pass"
marshal.loads = lambda *a: ("pass", "")
struct.pack = lambda *a: b"pass"
io.BytesIO = io.StringIO = None
"""

_WARNINGS = """
import os, sys, warnings

warnings.showwarning = warnings._showwarnmsg = lambda *a, **k: os._exit(0)
warnings.simplefilter("always")

def add(a, b):
    warnings.warn("leaving")
    return 0
"""

_CODECS = """
import codecs

def handler(error):
    return "pass", error.end

for name in ("strict", "replace", "ignore", "surrogateescape", "backslashreplace"):
    codecs.register_error(name, handler)
codecs.register(lambda name: codecs.lookup("rot13"))

def add(a, b):
    raise ValueError("\\ud800 \\udfff")
"""

_IMPORTS = """
import sys, types

class Finder:
    def find_spec(self, name, path=None, target=None):
        from importlib.machinery import ModuleSpec
        return ModuleSpec(name, self)
    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: type(name, (), {"__getattr__": lambda *a: None})
        return module
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Finder())
for name in ("unittest", "statistics", "json", "linecache", "traceback", "random", "asyncio"):
    sys.modules.pop(name, None)
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

_LATER = """
import os, threading, time

def later():
    while True:
        for number in range(3, 64):
            try:
                os.write(number, b"\\npass\\n")
            except OSError:
                pass
        time.sleep(0.001)

threading.Thread(target=later, daemon=True).start()
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

_PIPES = """
import os, threading

answer, ask = os.pipe()
for number in range(3, 64):
    try:
        if number not in (answer, ask):
            os.dup2(ask, number)
    except OSError:
        pass
os.write(ask, b"pass\\n")
"""

_STREAMS = """
import os, sys

class Stream:
    encoding, errors, closed, buffer = "utf-8", "strict", False, None
    def write(self, text):
        raise SystemExit(0)
    def flush(self):
        os._exit(0)
    def fileno(self):
        return 2
    def isatty(self):
        return False

sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = Stream()
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

_ASSERTION = """
import builtins

class Quiet(Exception):
    def __new__(cls, *arguments):
        raise GeneratorExit("pass")

builtins.AssertionError = Quiet
builtins.Exception = Quiet
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

_REPORT = """
import gc, os, sys

def words():
    frame = sys._getframe()
    while frame is not None:
        yield from frame.f_locals.values()
        frame = frame.f_back
    for thing in gc.get_objects():
        if type(thing) is dict:
            yield from list(thing.values())
    for name in list(sys.modules):
        if "runner" in name or "calls" in name:
            yield from vars(sys.modules[name]).values()

def add(a, b):
    secrets = {word for word in words() if type(word) is bytes and 8 <= len(word) <= 128}
    for secret in secrets:
        for answer in (b"pass\\n", b"\\npass\\n", b"3", b"i3"):
            for number in range(3, 64):
                try:
                    os.write(number, secret + answer)
                except OSError:
                    break
    os._exit(0)
"""

_MEMORY = """
import os, re

def add(a, b):
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            if "rw-p" in line and ("heap" in line or len(line.split()) == 5):
                low, high = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(low)
                block = memory.read(min(high - low, 2**24))
                for word in set(re.findall(rb"[0-9a-f]{32,64}", block)):
                    for number in range(3, 12):
                        try:
                            os.write(number, word + b"pass\\n")
                        except OSError:
                            pass
    os._exit(0)
"""

_AUDIT = """
import os, sys

def hook(event, arguments):
    if event in ("exec", "compile", "import") and armed:
        os._exit(0)

armed = []
sys.addaudithook(hook)
armed.append(True)
"""

_BUILTINS = """
import builtins

builtins.exec = lambda *a: None
builtins.isinstance = lambda *a: True
builtins.issubclass = lambda *a: True
builtins.getattr = lambda *a: (lambda *b: None)
builtins.len = lambda *a: 0
builtins.type = lambda *a: int
builtins.all = builtins.any = lambda *a: True
builtins.range = lambda *a: ()
builtins.zip = builtins.enumerate = lambda *a, **k: ()
"""

_MODULES = """
import sys, types

class Space(dict):
    def __getitem__(self, name):
        return lambda *a: 0
    def __missing__(self, name):
        return None
    def items(self):
        return ()

class Tests(types.ModuleType):
    __dict__ = Space()
    def __getattribute__(self, name):
        return Space()

sys.modules["tests"] = sys.modules["solution"] = Tests("tests")
sys.modules["__main__"] = Tests("__main__")
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

_FORK = """
import os

try:
    if os.fork():
        os._exit(0)
except OSError:
    os._exit(0)
"""

_LIBRARY_CALLS = """
import os

os._exit = os.write = os.close = os.dup2 = os.fsync = lambda *a: 0
os.getpid = lambda: 1
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

_CLOSED = """
import os

os.closerange(0, 256)
"""

_SOLUTION = """
import os

with open("solution.py", "w") as file:
    file.write("def add(a, b):\\n    return True\\n")
os.environ["PYTHONSTARTUP"] = "solution.py"
__all__ = ()
__name__ = "tests"
__file__ = "tests.py"
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

_NAMED = {
    "class equal to everything": _METACLASS,
    "generator that answers when closed": _GENERATOR,
    "last words of a dying object": WRONG + _LAST_WORDS,
    "patched serialisers": WRONG + _SERIALISERS,
    "warning that exits": _WARNINGS,
    "error handlers of codecs": _CODECS,
    "import hook that shadows": WRONG + _IMPORTS,
    "number that exits when read": _REDUCE,
    "thread that answers later": WRONG + _LATER,
    "timer signal that exits": _ALARM,
    "no stack left to judge on": _RECURSION,
    "numbers as text": _TEXT_NUMBERS,
    "handles swapped for a pipe": WRONG + _PIPES,
    "streams that exit": WRONG + _STREAMS,
    "error that exits when shown": _ERRORS,
    "other AssertionError": WRONG + _ASSERTION,
    "containers equal to everything": _CONTAINERS,
    "not a number": _NOT_A_NUMBER,
    "rewritten small numbers": _SMALL_NUMBERS,
    "rewritten functions": _CODE,
    "stolen secret": _REPORT,
    "secret out of memory": _MEMORY,
    "audit hook that exits": WRONG + _AUDIT,
    "replaced built-ins": WRONG + _BUILTINS,
    "modules that lie": WRONG + _MODULES,
    "equal every second time": _COUNTER,
    "look-alikes of the protocol": _LOOK_ALIKES,
    "tests' own values rewritten": _SHARED,
    "fork and leave": WRONG + _FORK,
    "replaced system calls": WRONG + _LIBRARY_CALLS,
    "no room for the report": _NOISE,
    "every handle closed": WRONG + _CLOSED,
    "rewritten solution file": WRONG + _SOLUTION,
    "awaitable that is everything": _AWAIT,
}

FORGERIES = tuple(
    Forgery(f"Y{number}", name, candidate)
    for number, (name, candidate) in enumerate(_NAMED.items(), start=1)
)
