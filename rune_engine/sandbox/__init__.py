"""Runs code that we do not trust, and says how its tests ended.

`sandbox.py` is the door, `inside/` is what runs within the walls. Importing this package loads
nothing, because the processes inside import it with a bare standard library: `Sandbox` is looked
up when it is asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from rune_engine.sandbox.sandbox import Sandbox

__all__ = ["Sandbox"]


def __getattr__(name: str) -> object:
    if name != "Sandbox":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rune_engine.sandbox.sandbox import Sandbox

    return Sandbox
