"""The macOS tier: a `sandbox-exec` profile. Declared untested; the probe decides at run time.

sandbox-exec is deprecated but has no successor for command-line tools. Memory is not limited
there: the system refuses RLIMIT_AS.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

_READABLE = ("/usr/lib", "/usr/share", "/System", "/Library/Apple", "/private/var/db/dyld", "/dev")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def private_folder() -> AbstractContextManager[str]:
    return tempfile.TemporaryDirectory(prefix="rune-box-")


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def profile(box: str, workspace: str | None, package_root: str) -> str:
    """The sandbox profile: everything denied, then the little that Python needs."""
    own = {sys.base_prefix, sys.prefix, os.path.realpath(sys.executable), package_root}
    readable = [*_READABLE, *sorted(own), box, *([workspace] if workspace else [])]
    reads = "\n".join(f"  (subpath {_quoted(os.path.realpath(path))})" for path in readable)
    devices = "\n".join(f"  (literal {_quoted(path)})" for path in _DEVICES)
    return f"""(version 1)
(deny default)
(allow process-exec (literal {_quoted(os.path.realpath(sys.executable))})
  (literal {_quoted(sys.executable)}))
(allow process-fork)
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read*
  (literal "/")
{reads})
(allow file-write*
  (subpath {_quoted(os.path.realpath(box))}))
(allow file-write-data
{devices})
(allow signal (target self))
"""


def wrap(command: list[str], box: str | None, workspace: str | None) -> list[str]:
    """Put sandbox-exec and this run's profile in front of `command`."""
    rules = profile(box or "/nonexistent", workspace, str(Path(__file__).parents[2]))
    return ["/usr/bin/sandbox-exec", "-p", rules, *command]
