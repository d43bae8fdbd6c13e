"""N: attacks on the network. All listeners are on this machine's loopback."""

from __future__ import annotations

from rune_engine.sandbox.conformance.attack import Attack

_NEEDS_ROOT = "raw packets need a privilege that a user does not have"

_TCP = """
def python():
    socket.create_connection(("127.0.0.1", TARGET["tcp"]), timeout=2).sendall(b"x")

def c_library():
    handle = libc.socket(2, 1, 0)
    address = struct.pack("=H", 2) + struct.pack("!H4s8x", TARGET["tcp"], bytes([127, 0, 0, 1]))
    return handle, libc.connect(handle, address, len(address))

attempt(python)
attempt(c_library)
"""

_UDP = """
def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", ("127.0.0.1", TARGET["udp"]))

def dns_query():
    question = b"\\0\\1\\1\\0\\0\\1" + bytes(6) + b"\\6secret\\0\\0\\1\\0\\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", TARGET["udp"]))
        return sender.send(question)

attempt(datagram)
attempt(dns_query)
"""

_SERVICE = """
import asyncio, http.client

def request(host):
    connection = http.client.HTTPConnection(host, TARGET["tcp"], timeout=2)
    connection.request("GET", "/")

async def stream():
    await asyncio.wait_for(asyncio.open_connection("127.0.0.1", TARGET["tcp"]), 2)

attempt(request, "127.0.0.1")
attempt(request, "localhost")
attempt(lambda: asyncio.run(stream()))
"""

_UNIX = """
def connect(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as caller:
        caller.settimeout(2)
        caller.connect(path)

def relative():
    os.chdir(os.path.dirname(TARGET["socket"]))
    connect(os.path.basename(TARGET["socket"]))

attempt(connect, TARGET["socket"])
attempt(connect, "/proc/%d/root%s" % (TARGET["victim"], TARGET["socket"]))
attempt(relative)
"""

_ABSTRACT = """
def connect():
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(2)
        caller.connect(TARGET["abstract"])

attempt(connect)
"""

_NETLINK = """
def send():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as caller:
        return caller.sendto(bytes(32), (TARGET["netlink"], 0))

attempt(send)
"""

_PACKET = """
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

def frame():
    body, home = b"frame", bytes([127, 0, 0, 1])
    udp = struct.pack("!HHHH", 9, TARGET["udp"], 8 + len(body), 0) + body
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, home, home)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(head + udp, ("lo", 0x0800))

def raw():
    udp = struct.pack("!HHHH", 9, TARGET["udp"], 12, 0) + b"raw!"
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as sender:
        return sender.sendto(udp, ("127.0.0.1", 0))

attempt(frame)
attempt(raw)
"""

_VSOCK = """
def connect(host):
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as caller:
        caller.settimeout(0.5)
        caller.connect((host, TARGET["vsock"]))

for host in (1, 2):
    attempt(connect, host)
"""

# A socket is made and connected by the ring alone: no `socket` or `connect` system call is seen.
_IO_URING = """
import mmap

def ring():
    parameters = (ctypes.c_uint32 * 30)()
    handle = libc.syscall(425, 4, parameters)
    if handle < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    head = mmap.mmap(handle, 4096, offset=0)
    done = mmap.mmap(handle, 4096, offset=0x8000000)
    entries = mmap.mmap(handle, 4096, offset=0x10000000)
    sq, cq = parameters[10:20], parameters[20:30]

    def submit(opcode, first, offset, address, length):
        tail = struct.unpack_from("=I", head, sq[1])[0]
        slot = tail & struct.unpack_from("=I", head, sq[2])[0]
        entry = struct.pack("=BBHiQQII", opcode, 0, 0, first, offset, address, length, 0)
        entries[slot * 64 : slot * 64 + 64] = entry + bytes(64 - len(entry))
        struct.pack_into("=I", head, sq[6] + 4 * slot, slot)
        struct.pack_into("=I", head, sq[1], tail + 1)
        seen = struct.unpack_from("=I", done, cq[0])[0]
        libc.syscall(426, handle, 1, 1, 1, None, 0)
        slot = seen & struct.unpack_from("=I", done, cq[2])[0]
        result = struct.unpack_from("=QiI", done, cq[5] + 16 * slot)[1]
        struct.pack_into("=I", done, cq[0], seen + 1)
        return result

    address = struct.pack("=H", 2) + struct.pack("!H4s8x", TARGET["tcp"], bytes([127, 0, 0, 1]))
    buffer = ctypes.create_string_buffer(address, 16)
    connection = submit(45, 2, 1, 0, 0)
    return connection, submit(16, connection, 16, ctypes.addressof(buffer), 0)

attempt(ring)
time.sleep(0.2)
"""

ATTACKS = (
    Attack("N1", "TCP connection", _TCP, "connected"),
    Attack("N2", "UDP datagram and DNS query", _UDP, "datagram"),
    Attack("N3", "service on the machine's loopback", _SERVICE, "connected"),
    Attack("N4", "Unix socket by its path", _UNIX, "connected"),
    Attack("N5", "abstract Unix socket", _ABSTRACT, "connected"),
    Attack("N6", "netlink", _NETLINK, "netlink message"),
    Attack("N6", "raw packets", _PACKET, not_bare=_NEEDS_ROOT),
    Attack("N6", "vsock", _VSOCK, not_bare="few machines have a vsock peer"),
    Attack("N7", "io_uring", _IO_URING, not_bare="some kernels forbid io_uring to everybody"),
)
