"""Kills writers at random moments and says what was lost: nothing, or it fails.

    python -m benchmarks.crash --kills 5000 --seed 1

The long form of `tests/durability/test_kills.py`; `tests/durability/kills.py` says what it does.
`--power-cuts 20` cuts the power so often under each file system instead (Linux, as root).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "tests" / "durability"


def run(script: str, *arguments: str, inside: tuple[str, ...] = ()) -> int:
    """Run one of the tests' scripts with this checkout; its exit code."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [*inside, sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Kills writers at random moments.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--power-cuts", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seed = ("--seed", str(options.seed))
    if options.power_cuts:
        inside = ("unshare", "--mount")
        return run("power_cut.py", "--cuts", str(options.power_cuts), *seed, inside=inside)
    return run("kills.py", "--kills", str(options.kills), *seed)


if __name__ == "__main__":
    sys.exit(main())
