"""A clock for tests about time: nothing waits, nothing depends on how fast the machine is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class StandingClock:
    """Shows the same time until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)
