"""The macOS tier's Seatbelt profile. Declared untested; the probe decides at run time.

Seatbelt (`sandbox-exec`, `sandbox_init`) is deprecated but has no successor for command-line
tools. Memory is not limited there: the system refuses RLIMIT_AS.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_READABLE = ("/usr/lib", "/usr/share", "/System", "/Library/Apple", "/private/var/db/dyld", "/dev")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

LIMITS = (
    "never tested by its authors",
    "memory is not limited, only processor time, file sizes and open files",
    "disk use is limited per file, not in all",
    "a run's processes end by their group, not by the kernel, when the engine is killed",
    "the project profile is refused",
)


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def rules() -> str:
    """The profile: everything denied, then the little that Python needs, no run's own folders."""
    own = {sys.base_prefix, sys.prefix, str(Path(__file__).parents[2])}
    readable = [*_READABLE, *sorted(own)]
    reads = "\n".join(f"  (subpath {_quoted(os.path.realpath(path))})" for path in readable)
    devices = "\n".join(f"  (literal {_quoted(path)})" for path in _DEVICES)
    return f"""(version 1)
(deny default)
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read*
  (literal "/")
{reads})
(allow file-write-data
{devices})
(allow signal (target self))
"""
