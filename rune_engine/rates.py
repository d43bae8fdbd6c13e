"""So many in a minute, however many ask. Knows nothing of what is counted."""

from __future__ import annotations

import threading
import time
from collections import deque

from rune_engine.errors import RateLimitedError

_SECONDS = 60.0


class PerMinute:
    """Admits at most `most` in any minute. Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: deque[float] = deque()
        self._lock = threading.Lock()

    def admits(self) -> bool:
        """Whether another one may be; if so, it is counted."""
        with self._lock:
            now = time.monotonic()
            while self._times and self._times[0] < now - _SECONDS:
                self._times.popleft()
            if len(self._times) >= self._most:
                return False
            self._times.append(now)
            return True

    def require(self, what: str) -> None:
        """Count another one.

        Raises:
            RateLimitedError: there were as many in the last minute as there may be.
        """
        if not self.admits():
            raise RateLimitedError(
                f"There were {self._most} {what} in the last minute, which is as many as there may"
                " be. This one was not taken.",
                next_step="Wait a minute and send it again; many at once are for `rune import`.",
            )
