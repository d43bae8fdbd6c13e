"""Turns a confined child into an interpreter that runs pytest_boot.py. Knows no verdict."""

from __future__ import annotations

import json
import os
import sys

from rune_engine.sandbox.inside.project import TESTS

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any, NoReturn


def run(payload: dict[str, Any], verdict: int) -> NoReturn:
    """The secret goes by a pipe that is read before any line of the candidate's."""
    reading, writing = os.pipe()
    os.write(writing, payload["secret"])
    os.close(writing)
    for handle in (reading, verdict):
        os.set_inheritable(handle, True)
    os.dup2(2, 1)  # what pytest says is shown as errors are
    boot = [f"{TESTS}/_rune/boot.py", str(reading), str(verdict), json.dumps(payload["pytest"])]
    os.execv(sys.executable, [sys.executable, "-P", "-s", "-B", *boot])
