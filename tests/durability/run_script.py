"""Runs the scripts of this folder, each in a process of its own: they fork, and pytest must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PATHS = [str(HERE.parents[1]), str(HERE.parent)]
TIMEOUT_SECONDS = 280


def run(script: str, *arguments: str, inside: Sequence[str] = ()) -> Any:
    """What the script reports; `inside` is a command that runs commands."""
    done = subprocess.run(
        [*inside, sys.executable, str(HERE / script), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
