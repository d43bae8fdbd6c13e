"""Progress, on stderr."""

from __future__ import annotations

import sys
import time

_BEGAN = time.monotonic()


def tell(who: str, what: str) -> None:
    """A line with the seconds since the start."""
    print(f"{time.monotonic() - _BEGAN:7.0f} s  {who:<9} {what}", file=sys.stderr, flush=True)
