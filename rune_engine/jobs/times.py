"""When a job may start, and how long somebody may keep it: leases, back-off, and clocks that jump.

Knows no table. Times are ISO 8601 UTC with microseconds, which sort as text.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]

LEASE = timedelta(seconds=60)
"""An owner that has not renewed it for so long is taken to be stuck."""
HEARTBEAT_SECONDS = 15.0
AT_ONCE = ""
"""The start of a job that waits for nothing: it is due whatever the clock shows."""
LONGEST_DELAY = timedelta(hours=1)
"""No job waits longer by itself; a start that lies further off was written by a wrong clock."""

_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 600.0


def system_clock() -> datetime:
    return datetime.now(UTC)


def as_text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def retry_delay(attempt: int) -> timedelta:
    """How long to wait after the `attempt`-th failure: doubling, half of it by chance."""
    longest = min(_FIRST_RETRY_SECONDS * 2 ** min(attempt - 1, 30), _LAST_RETRY_SECONDS)
    return timedelta(seconds=longest * random.uniform(0.5, 1.0))
