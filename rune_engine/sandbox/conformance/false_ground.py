"""Wrong candidates that change what they run on: the library, the interpreter, their handles.
Part of the Y family, see `inventions.py`.
"""

from __future__ import annotations

from rune_engine.sandbox.conformance.forms import WRONG

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

_ASSERTION = """
import builtins

class Quiet(Exception):
    def __new__(cls, *arguments):
        raise GeneratorExit("pass")

builtins.AssertionError = Quiet
builtins.Exception = Quiet
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

CANDIDATES = {
    "last words of a dying object": WRONG + _LAST_WORDS,
    "patched serialisers": WRONG + _SERIALISERS,
    "error handlers of codecs": _CODECS,
    "import hook that shadows": WRONG + _IMPORTS,
    "thread that answers later": WRONG + _LATER,
    "handles swapped for a pipe": WRONG + _PIPES,
    "streams that exit": WRONG + _STREAMS,
    "other AssertionError": WRONG + _ASSERTION,
    "stolen secret": _REPORT,
    "secret out of memory": _MEMORY,
    "audit hook that exits": WRONG + _AUDIT,
    "replaced built-ins": WRONG + _BUILTINS,
    "modules that lie": WRONG + _MODULES,
    "fork and leave": WRONG + _FORK,
    "replaced system calls": WRONG + _LIBRARY_CALLS,
    "every handle closed": WRONG + _CLOSED,
    "rewritten solution file": WRONG + _SOLUTION,
}
