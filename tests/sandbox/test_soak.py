"""Hundreds of runs, a third of them hostile, leave nothing and end as each would alone.

The full number is `python -m benchmarks.sandbox --soak 10000`.
"""

from __future__ import annotations

import sys

import pytest

from benchmarks.sandbox import soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")


async def test_nothing_is_left_over_and_no_verdict_changes() -> None:
    await soak(30, 2)  # whatever is loaded once is loaded now
    result = await soak(300, 2)
    before, after = result["before"], result["after"]
    assert result["wrong_verdicts"] == 0
    for what in ("processes", "handles", "mounts", "files"):
        assert after[what] <= before[what], (what, result)
    assert after["memory_mb"] <= before["memory_mb"] + 16, result
