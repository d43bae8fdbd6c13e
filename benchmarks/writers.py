"""Processes that write to one home at once: what failed, what was lost, who got how many turns.

    python -m benchmarks.writers --seconds 60 --processes 8 --folder /tmp

The long form of a test in `tests/durability`; `writers.py` there says what it does. `--folder` is
on the disk to be measured.
"""

from __future__ import annotations

import sys

from benchmarks.crash import run

if __name__ == "__main__":
    sys.exit(run("writers.py", *sys.argv[1:]))
