"""S: attacks on what the engine knows: its environment, its files, its names."""

from __future__ import annotations

from rune_engine.sandbox.conformance.attack import TESTS_WITH_A_SECRET, Attack

_ENVIRONMENT = """
import subprocess

print(dict(os.environ))
attempt(lambda: open("/proc/self/environ").read())
attempt(lambda: subprocess.run(["/usr/bin/env"], capture_output=True).stdout)
libc.getenv.restype = ctypes.c_char_p
for name in TARGET["variables"]:
    attempt(libc.getenv, name.encode())
"""

_OTHER_ENVIRONMENTS = """
import glob

for path in glob.glob("/proc/[0-9]*"):
    for name in ("environ", "cmdline"):
        attempt(lambda: open(path + "/" + name, "rb").read())
"""

_HANDLES = """
for number in range(3, 300):
    try:
        print(number, os.readlink("/proc/self/fd/%d" % number))
        print(os.pread(number, 1000, 0))
    except OSError:
        pass
"""

_NAMES = """
import getpass, platform, traceback

attempt(lambda: "<%s>" % platform.node())
attempt(lambda: "<%s>" % open("/etc/hostname").read().strip())
attempt(lambda: open("/proc/sys/kernel/hostname").read())
attempt(getpass.getuser)
attempt(lambda: open("/etc/passwd").read())
attempt(lambda: open("/proc/self/mountinfo").read())
attempt(lambda: open("/proc/mounts").read())
print(sys.path, sys.argv, sys.orig_argv, os.getcwd(), __file__)
print({name: getattr(module, "__file__", "") for name, module in sys.modules.items()})
frame = sys._getframe()
while frame:
    print(frame.f_code.co_filename)
    frame = frame.f_back
traceback.print_stack()
raise RuntimeError("look at this traceback")
"""

_STDIN = """
import fcntl

fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)
attempt(os.read, 0, 100000)
attempt(os.pread, 0, 100000, 0)
attempt(lambda: open("/dev/stdin", "rb").read(100000))
"""

ATTACKS = (
    Attack("S1", "environment variables", _ENVIRONMENT, "secret read"),
    Attack("S2", "other processes in /proc", _OTHER_ENVIRONMENTS, "secret read"),
    Attack("S3", "inherited handles", _HANDLES, "secret read"),
    Attack("S4", "names of the machine and its folders", _NAMES, "names"),
    Attack(
        "S5",
        "what is left on standard input",
        _STDIN,
        "secret read",
        tests=TESTS_WITH_A_SECRET,
    ),
)
