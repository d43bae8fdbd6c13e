"""F: attacks on files outside, on the next run, and on whoever collects what was left."""

from __future__ import annotations

from rune_engine.sandbox.conformance.attack import TESTS_WITH_A_SECRET, Attack

_READ = """
def read(path):
    with open(path, "rb") as file:
        return file.read()

def by_handle(folder):
    handle = os.open(folder, os.O_PATH if hasattr(os, "O_PATH") else os.O_RDONLY)
    return os.read(os.open(NAME, os.O_RDONLY, dir_fd=handle), 1000)

def everywhere(limit=20000):
    seen = 0
    for folder, _, names in os.walk("/"):
        seen += len(names)
        for name in names:
            if name == NAME:
                attempt(read, os.path.join(folder, name))
        if seen > limit:
            break

PATH = TARGET[KEY]
NAME = os.path.basename(PATH)
attempt(read, PATH)
attempt(read, "/proc/%d/root%s" % (TARGET["victim"], PATH))
attempt(read, "/proc/1/root" + PATH)
attempt(read, "../" * 20 + PATH)
attempt(by_handle, os.path.dirname(PATH))
attempt(os.listdir, os.path.dirname(PATH))
everywhere()
"""

_SEARCH_FOR_TESTS = """
for folder in (".", *TARGET["folders"], "/tests", os.path.expanduser("~")):
    for path, _, names in os.walk(folder):
        for name in names:
            if os.path.getsize(os.path.join(path, name)) < 100000:
                attempt(open(os.path.join(path, name), errors="replace").read)
"""

_WRITE = """
def write(path, flags=os.O_WRONLY | os.O_CREAT):
    return os.write(os.open(path, flags, 0o644), b"x")

attempt(write, TARGET["plant"])
attempt(write, TARGET["canary"])
attempt(write, "/proc/%d/root%s" % (TARGET["victim"], TARGET["plant"]))
attempt(os.truncate, TARGET["canary"], 0)
attempt(os.rename, TARGET["canary"], TARGET["plant"])
attempt(os.unlink, TARGET["canary"])
attempt(os.chmod, TARGET["canary"], 0o777)
attempt(os.mkdir, TARGET["plant"])
attempt(os.utime, TARGET["canary"], (1, 1))
"""

_INTERPRETER = """
for folder in TARGET["libraries"]:
    for name in (TARGET["name"] + ".pth", TARGET["name"] + ".py"):
        attempt(lambda: os.close(os.open(folder + "/" + name, os.O_CREAT | os.O_WRONLY)))
"""

_SYMLINK = """
def through(name, target):
    if os.path.lexists(name):
        os.unlink(name)
    os.symlink(target, name)
    with open(name, "a") as file:
        file.write("changed")

for number, name in enumerate(("link", "solution.py", "tests.py", "report.json", "out.txt")):
    attempt(through, name, TARGET["canary"])
attempt(through, "planted", TARGET["plant"])
attempt(os.symlink, TARGET["home"], "folder")
attempt(lambda: open("solution.py").read())
"""

_HARD_LINK = """
def link():
    os.link(TARGET["canary"], TARGET["plant"])

def link_here():
    os.link(TARGET["canary"], "here")
    return open("here").read()

attempt(link)
attempt(link_here)
"""

_STRANGE_TREE = """
def sparse():
    with open("sparse", "wb") as file:
        file.truncate(TARGET["sparse_bytes"])

def deep():
    for _ in range(300):
        os.mkdir("deeper")
        os.chdir("deeper")

def many():
    for number in range(100000):
        os.close(os.open("many%d" % number, os.O_CREAT | os.O_WRONLY))

here = os.getcwd()
attempt(os.mkfifo, "fifo")
attempt(os.unlink, "solution.py")
attempt(os.mkfifo, "solution.py")
attempt(os.mknod, "device", 0o20666, os.makedev(1, 8))
attempt(os.symlink, ".", "loop")
attempt(os.symlink, "/proc/self/fd/0", "endless")
attempt(lambda: open(b"\\xff\\xfe\\n\\x1b[2J", "w").close())
attempt(os.mkdir, "closed", 0)
attempt(sparse)
attempt(deep)
os.chdir(here)
attempt(many)
attempt(os.chmod, here, 0)
"""

_LEAVE = """
def leave(folder):
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/" + TARGET["name"], "w") as file:
        file.write(TARGET["mark"])

for folder in (".", *TARGET["folders"], os.path.expanduser("~")):
    attempt(leave, folder)
    attempt(leave, folder + "/__pycache__")
"""
_FIND = """
for folder in (".", *TARGET["folders"], os.path.expanduser("~")):
    for path in (folder, folder + "/__pycache__"):
        attempt(lambda: open(path + "/" + TARGET["name"]).read())
"""

_POISON = """
import importlib.util, marshal, py_compile

def poison(name):
    source = "poisoned.py"
    with open(source, "w") as file:
        file.write("import os\\nMARK = %r\\nprint(MARK)\\ndef done(): return 1\\n" % TARGET["mark"])
    os.makedirs("__pycache__", exist_ok=True)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    cache = "__pycache__/%s.%s.pyc" % (name, sys.implementation.cache_tag)
    py_compile.compile(source, cache, invalidation_mode=unchecked)
    with open(name + ".py", "a") as file:
        file.write("")

for name in ("solution", "json", "colorsys", "tests"):
    attempt(poison, name)
"""
_IMPORT = """
sys.path.insert(0, os.getcwd())
for name in ("solution", "colorsys", "tests"):
    sys.modules.pop(name, None)
    attempt(__import__, name)
"""

_SHADOW = """
for name in ("unittest", "json", "sitecustomize", "usercustomize", "conftest", "tests", "re"):
    attempt(lambda: open(name + ".py", "w").write("import os; os._exit(0)"))

def add(a, b):
    return 0
"""
_SHADOWED_TESTS = """
import json
import unittest

class AddTest(unittest.TestCase):
    def test_add(self):
        self.assertEqual(json.dumps(add(1, 2)), "3")
"""

ATTACKS = (
    Attack("F1", "read a private key", f"KEY = 'private'\n{_READ}", "secret read"),
    Attack("F2", "read another project", f"KEY = 'project'\n{_READ}", "secret read"),
    Attack(
        "F3",
        "find the tests in a file",
        _SEARCH_FOR_TESTS,
        not_bare="without walls there are no tests to find",
        tests=TESTS_WITH_A_SECRET,
    ),
    Attack("F4", "write outside", _WRITE, "files changed"),
    Attack("F5", "add to the interpreter's libraries", _INTERPRETER, "library changed"),
    Attack("F6", "write through symbolic links", _SYMLINK, "files changed"),
    Attack("F7", "hard link to a foreign file", _HARD_LINK, "files changed"),
    Attack(
        "F8",
        "pipes, devices, loops and odd names to collect",
        _STRANGE_TREE,
        not_bare="it is aimed at whoever collects the folder",
    ),
    Attack("F9", "leave files for the next run", _LEAVE, "secret read", then=_FIND),
    Attack("F10", "poisoned byte code for the next run", _POISON, "secret read", then=_IMPORT),
    Attack(
        "F11",
        "shadow the standard library",
        _SHADOW,
        not_bare="it is aimed at the verdict",
        tests=_SHADOWED_TESTS,
    ),
)
