"""The type of the fixture `watch`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import psutil

from rune_engine.sandbox.verdict import Verdict

Watch = Callable[[Awaitable[Verdict]], Awaitable[tuple[Verdict, list[psutil.Process]]]]
