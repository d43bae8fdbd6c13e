"""Starts one run inside `sandbox-exec`: `python -c BOOT STATUS_FD ENGINE_PID`.

There are no namespaces on macOS: the profile around this process is the wall, and the engine ends
the process group. Not tested: written from Apple's and other users' documentation.
"""

from __future__ import annotations

import marshal
import os
import sys

from rune_engine.sandbox.inside import confinement, warden


def main() -> None:
    status = int(sys.argv[1])
    payload = marshal.loads(sys.stdin.buffer.read())
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    workspace, box = payload["workspace"], payload["box"]
    folders = [workspace, f"{workspace}/src"] if workspace else []
    walls = warden.Walls(
        box,
        folders,
        lambda: confinement.limit_resources(payload["limits"]),
        lambda: warden.empty(box),
    )
    warden.oversee(payload, status, walls)
