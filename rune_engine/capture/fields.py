"""Taking what is there out of records that promise nothing: always a value of the type asked for.

Knows no format.
"""

from __future__ import annotations

from typing import Any


def text(value: Any) -> str:
    """A string; empty for anything else."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A JSON array; empty for anything else."""
    return value if isinstance(value, list) else []


def number(value: Any) -> int | None:
    """An exit code: a whole number that a process can end with, or None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**31) <= value < 2**32 else None


def joined_text(content: Any) -> str:
    """The text of a message's content: a string, or a list of blocks that have text."""
    if isinstance(content, str):
        return content
    texts = (text(mapping(block).get("text")) for block in items(content))
    return "\n".join(part for part in texts if part)
