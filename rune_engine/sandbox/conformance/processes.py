"""P: attacks on other processes, on the walls themselves, and on being ended."""

from __future__ import annotations

from rune_engine.sandbox.conformance.attack import Attack

_IGNORE_SIGNALS = """
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    pass
"""

_DAEMON = """
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(0 if KEEP else 3):
                os.close(number)
            time.sleep(30)
        os._exit(0)

attempt(daemon)
time.sleep(0.3)
"""

_KILL = """
def by_pidfd():
    handle = os.pidfd_open(TARGET["victim"])
    signal.pidfd_send_signal(handle, signal.SIGKILL)

def queued():
    information = struct.pack("=iii", 9, 0, -1) + bytes(116)
    return libc.syscall(129, TARGET["victim"], 9, information)

victim = TARGET["victim"]
attempt(os.kill, victim, signal.SIGTERM)
attempt(os.kill, victim, signal.SIGKILL)
attempt(os.killpg, victim, signal.SIGKILL)
attempt(by_pidfd)
attempt(libc.syscall, 234, victim, victim, 9)
attempt(queued)
if TARGET["confined"]:
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
        attempt(os.kill, os.getppid(), number)
        attempt(os.kill, 1, number)
"""

_READ_MEMORY = """
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def environment():
    return open("/proc/%d/environ" % TARGET["victim"], "rb").read()

def where():
    fields = open("/proc/%d/stat" % TARGET["victim"]).read().rpartition(")")[2].split()
    return int(fields[47]), int(fields[48])

def memory():
    start, end = where()
    with open("/proc/%d/mem" % TARGET["victim"], "rb") as file:
        file.seek(start)
        return file.read(end - start)

def vector():
    start, end = TARGET["victim_memory"]
    buffer = ctypes.create_string_buffer(end - start)
    here = Vector(ctypes.addressof(buffer), end - start)
    there = Vector(start, end - start)
    done = libc.process_vm_readv(
        TARGET["victim"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return done, buffer.raw

def trace():
    done = libc.ptrace(16, TARGET["victim"], None, None)
    if done == 0:
        libc.waitpid(TARGET["victim"], None, 0x40000000)
        libc.ptrace(17, TARGET["victim"], None, None)
    return done

attempt(environment)
attempt(memory)
attempt(vector)
attempt(trace)
attempt(lambda: open("/proc/1/mem", "rb").read(1))
"""

_STOP_SELF = """
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(600)
"""

_TERMINAL = """
def type_into(handle):
    import fcntl
    for letter in b"echo typed\\n":
        fcntl.ioctl(handle, 0x5412, bytes([letter]))

def terminal():
    handle = os.open(TARGET["terminal"], os.O_RDWR | os.O_NOCTTY)
    attempt(type_into, handle)
    return os.write(handle, b"\\x1b]2;typed\\x07")

attempt(terminal)
attempt(lambda: type_into(os.open("/dev/tty", os.O_RDWR)))
if TARGET["confined"]:
    for number in range(3):
        attempt(type_into, number)
"""

_NAMESPACES = """
time.sleep(0.3)
for flags in (0x10000000, 0x10020000, 0x00020000, 0x02000000):
    attempt(libc.unshare, flags)
attempt(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None)
attempt(libc.chroot, b"/tmp")
attempt(lambda: libc.setns(os.open("/proc/%d/ns/user" % TARGET["victim"], os.O_RDONLY), 0))
time.sleep(0.3)
"""

_PRIVILEGES = """
attempt(os.setresuid, 0, 0, 0)
attempt(os.setresgid, 0, 0, 0)
attempt(os.setgroups, [0])
attempt(libc.prctl, 38, 0, 0, 0, 0)
time.sleep(0.4)
if TARGET["confined"]:
    for path in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/sudo", "/usr/bin/newuidmap"):
        attempt(os.execv, path, [path])
"""

_RAISE_LIMITS = """
import resource

time.sleep(0.3)
for name in dir(resource):
    if name.startswith("RLIMIT_"):
        kind = getattr(resource, name)
        soft, hard = resource.getrlimit(kind)
        most = resource.RLIM_INFINITY
        attempt(resource.setrlimit, kind, (most, most))
        attempt(resource.setrlimit, kind, (hard, hard))
        if hasattr(resource, "prlimit"):
            attempt(resource.prlimit, TARGET["victim"], kind, (1, 1))
time.sleep(0.3)
"""

_KERNEL_DOORS = """
def key():
    return libc.syscall(248, b"user", TARGET["name"].encode(), b"secret", 6, -4)

def perf():
    description = struct.pack("=IIQQ", 1, 128, 0, 0) + bytes(104)
    return libc.syscall(298, description, 0, -1, -1, 0)

def bpf():
    return libc.syscall(321, 0, struct.pack("=IIIII", 2, 4, 4, 1, 0) + bytes(52), 72)

attempt(key)
attempt(perf)
attempt(bpf)
attempt(libc.syscall, 323, 0)
attempt(libc.syscall, 425, 4, ctypes.create_string_buffer(120))
attempt(os.memfd_create, "x") if hasattr(os, "memfd_create") else None
time.sleep(0.4)
"""

# The other ways into an x86-64 kernel: x32 numbers, and the 32-bit gate with its own numbers.
_OTHER_ABIS = """
import mmap

address = struct.pack("=H", 2) + struct.pack("!H4s8x", TARGET["tcp"], bytes([127, 0, 0, 1]))

def gate():
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, 7)
    base = ctypes.addressof(ctypes.c_char.from_buffer(page))
    place = base + 2048
    page[2048:2064] = address
    code = (
        b"\\x53\\xb8" + struct.pack("=I", 359) + b"\\xbb\\x02\\0\\0\\0"
        b"\\xb9\\x01\\0\\0\\0\\x31\\xd2\\xcd\\x80"
        b"\\x89\\xc3\\xb9" + struct.pack("=I", place) + b"\\xba\\x10\\0\\0\\0"
        b"\\xb8" + struct.pack("=I", 362) + b"\\xcd\\x80\\x5b\\xc3"
    )
    page[: len(code)] = code
    return ctypes.CFUNCTYPE(ctypes.c_int)(base)()

def x32():
    handle = libc.syscall(0x40000000 + 41, 2, 1, 0)
    return libc.syscall(0x40000000 + 42, handle, address, 16)

attempt(WAY)
"""

_THREADS = """
def forever():
    while True:
        time.sleep(0.01)

for _ in range(5):
    attempt(threading.Thread(target=forever).start)
"""

ATTACKS = (
    Attack("P1", "every signal ignored", _IGNORE_SIGNALS, "does not end", endless=True),
    Attack("P2", "daemon by two forks", f"KEEP = False\n{_DAEMON}", "survived"),
    Attack(
        "P3",
        "daemon that holds the output open",
        f"KEEP = True\n{_DAEMON}",
        "survived",
        endless=True,
    ),
    Attack("P4", "kill another process", _KILL, "victim ended"),
    Attack("P5", "read another process", _READ_MEMORY, "secret read"),
    Attack("P6", "stop itself", _STOP_SELF, "does not end", endless=True),
    Attack("P7", "type into the terminal", _TERMINAL, "terminal"),
    Attack(
        "P8", "namespaces and mounts", _NAMESPACES, not_bare="many systems refuse these to users"
    ),
    Attack("P9", "privileges and setuid programs", _PRIVILEGES, "privileges"),
    Attack(
        "P10",
        "raise its own and lower another's limits",
        _RAISE_LIMITS,
        "limits",
    ),
    Attack("P11", "key ring, bpf, perf", _KERNEL_DOORS, "kernel objects"),
    Attack(
        "P12",
        "the 32-bit system call gate",
        f"{_OTHER_ABIS.replace('WAY', 'gate')}",
        not_bare="not every kernel has the other gates",
    ),
    Attack(
        "P12",
        "x32 system calls",
        f"{_OTHER_ABIS.replace('WAY', 'x32')}",
        not_bare="not every kernel has the other gates",
    ),
    Attack("P13", "threads that go on", _THREADS, "does not end", endless=True),
)
