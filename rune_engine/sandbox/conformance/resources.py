"""R: attacks on the machine's memory, disk, processor, handles and on whoever reads its output.

Every one is bounded: `TARGET` says how much it tries to take, more than the walls allow and less
than would hurt the machine.
"""

from __future__ import annotations

from rune_engine.sandbox.conformance.attack import Attack

_FORK_BOMB = """
def bomb():
    for _ in range(TARGET["forks"]):
        if os.fork() == 0:
            time.sleep(TARGET["hold_seconds"])
            os._exit(0)

attempt(bomb)
time.sleep(0.5)
"""

_ONE_ALLOCATION = """
taken = []

def take(size):
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])
    taken.append(block)

attempt(take, TARGET["bytes"])
for _ in range(TARGET["bytes"] // 2**24):
    attempt(take, 2**24)
time.sleep(0.3)
"""

_HOLD = """
def hold():
    block = bytearray(TARGET["bytes"] // 8)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(TARGET["hold_seconds"])
    os._exit(0)
"""

_MANY_PROCESSES = f"""{_HOLD}
def spawn():
    for _ in range(8):
        if os.fork() == 0:
            hold()

attempt(spawn)
time.sleep(TARGET["hold_seconds"])
"""

_WITHOUT_A_FIRST_THREAD = f"""{_HOLD}
def spawn():
    for _ in range(8):
        if os.fork() == 0:
            threading.Thread(target=hold).start()
            libc.syscall({{"x86_64": 60}}.get(os.uname().machine, 93), 0)

attempt(spawn)
time.sleep(TARGET["hold_seconds"])
"""

_UNMAPPED_MEMORY = """
import mmap

def share(*arguments):
    block = mmap.mmap(*arguments)
    for at in range(0, len(block), 2**22):
        block[at:at + 2**22] = bytes(2**22)
    block.madvise(mmap.MADV_DONTNEED)
    time.sleep(TARGET["hold_seconds"])

def spawn():
    for number in range(8):
        if os.fork() == 0:
            attempt(share, -1, TARGET["bytes"] // 8)
            attempt(lambda: share(os.open("/dev/zero", os.O_RDWR), TARGET["bytes"] // 8))
            os._exit(0)

attempt(spawn)
time.sleep(TARGET["hold_seconds"])
"""

_SHARED_MEMORY = """
def fill(handle):
    for _ in range(TARGET["bytes"] // 2**22):
        os.write(handle, bytes(2**22))

def in_shm(name):
    fill(os.open(name, os.O_CREAT | os.O_RDWR))

def system_v():
    libc.shmat.restype = ctypes.c_void_p
    key = libc.shmget(0, TARGET["bytes"] // 2, 0o1600)
    address = libc.shmat(key, None, 0)
    ctypes.memset(address, 1, TARGET["bytes"] // 2)
    time.sleep(0.2)
    libc.shmctl(key, 0, None)

attempt(lambda: fill(os.memfd_create(TARGET["name"])))
for folder in TARGET["folders"]:
    attempt(in_shm, folder + "/" + TARGET["name"])
if TARGET["confined"]:
    attempt(system_v)
time.sleep(0.3)
"""

_ONE_FILE = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

block = os.urandom(2**22)

def grow(path):
    with open(path, "wb", buffering=0) as file:
        for _ in range(TARGET["bytes"] // 2**22):
            file.write(block)

for folder in (".", *TARGET["folders"]):
    attempt(grow, folder + "/" + TARGET["name"])
    time.sleep(0.1)
"""

_MANY_FILES = """
def fill(folder):
    for number in range(TARGET["files"]):
        os.close(os.open("%s/%s-%d" % (folder, TARGET["name"], number), os.O_CREAT))

for folder in (".", *TARGET["folders"]):
    attempt(fill, folder)
time.sleep(0.3)
"""

_SPIN = """
def spin():
    while True:
        pass

for _ in range(3):
    attempt(threading.Thread(target=spin, daemon=True).start)
spin()
"""

_ENDLESS_OUTPUT = """
until = time.monotonic() + 60
while time.monotonic() < until:
    os.write(1, b"x" * 65536)
    os.write(2, b"y" * 65536)
"""

_ONE_LINE = """
for _ in range(TARGET["bytes"] // 2**20):
    os.write(1, b"x" * 2**20)
"""

_HANDLES = """
taken = []

def more():
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

def take():
    for _ in range(TARGET["handles"]):
        taken.append(os.open("/dev/null", os.O_RDONLY))

def in_flight():
    left, right = socket.socketpair()
    left.setblocking(False)
    rights = struct.pack("=10i", *[0] * 10)
    for _ in range(TARGET["handles"] // 10):
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    taken.append((left, right))

attempt(more)
attempt(take)
taken = taken[8:]
for _ in range(20):
    attempt(in_flight)
time.sleep(TARGET["hold_seconds"])
"""

_CRASHES = {
    "recursion": "def deeper(): deeper()\ndeeper()\n",
    "recursion beneath Python": (
        "sys.setrecursionlimit(10**9)\nvalue = []\nfor _ in range(10**6):\n    value = [value]\n"
        "repr(value)\n"
    ),
    "segmentation fault": "ctypes.string_at(0)\n",
    "abort with a core file": (
        "import resource\n"
        "attempt(resource.setrlimit, resource.RLIMIT_CORE, (2**30, 2**30))\nos.abort()\n"
    ),
}
_ENDLESS = {
    "regular expression": "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')\n",
    "power of powers": "value = 10 ** 10 ** 10\n",
    "number to text": "sys.set_int_max_str_digits(0)\ntext = str(7 ** (3 * 10**7))\n",
    "sleep": "time.sleep(600)\n",
}

ATTACKS = (
    Attack("R1", "fork bomb", _FORK_BOMB, "processes", alone=True),
    Attack("R2", "one huge allocation", _ONE_ALLOCATION, "memory", alone=True),
    Attack("R3", "memory over many processes", _MANY_PROCESSES, "memory", alone=True),
    Attack(
        "R3",
        "memory of processes whose first thread has ended",
        _WITHOUT_A_FIRST_THREAD,
        "memory",
        alone=True,
    ),
    Attack(
        "R3",
        "shared memory that no process maps",
        _UNMAPPED_MEMORY,
        "shared memory",
        alone=True,
    ),
    Attack(
        "R4", "memory in memfd, /dev/shm and tmpfs", _SHARED_MEMORY, "shared memory", alone=True
    ),
    Attack("R5", "one huge file", _ONE_FILE, "disk", alone=True),
    Attack("R6", "very many files", _MANY_FILES, "inodes", alone=True),
    Attack("R7", "busy threads", _SPIN, "does not end", endless=True),
    Attack("R8", "endless output", _ENDLESS_OUTPUT, "flooded", endless=True),
    Attack("R9", "one endless line", _ONE_LINE, "flooded"),
    Attack("R10", "open files", _HANDLES, "open files", alone=True),
    *(
        Attack("R11", name, code, not_bare="a crash has no effect outside")
        for name, code in _CRASHES.items()
    ),
    *(Attack("R12", name, code, "does not end", endless=True) for name, code in _ENDLESS.items()),
)
