"""Starts one run inside `sandbox-exec`: `python -c BOOT STATUS_FD VERDICT_FD ENGINE_PID`.

There are no namespaces on macOS: the profile around this process is the wall, and the engine ends
the process group. Not tested: written from Apple's and other users' documentation.
"""

from __future__ import annotations

import marshal
import os
import sys

from rune_engine.sandbox.inside import confinement, runner


def main() -> None:
    status, verdict = int(sys.argv[1]), int(sys.argv[2])
    payload = marshal.loads(sys.stdin.buffer.read())
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.chdir(payload["box"])
    runner.prepare(payload["candidate"])
    confinement.limit_resources(payload["limits"])
    low, high = sorted((status, verdict))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, 65536)
    os.write(status, b"R")
    os.close(status)
    workspace = payload["workspace"]
    folders = [workspace, f"{workspace}/src"] if workspace else []
    runner.run(payload, folders, verdict)
