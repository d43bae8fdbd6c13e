"""Text from anywhere as text that is only read: no terminal and no reader obeys any of it.

Escape sequences, control characters, halves of surrogate pairs and characters that turn the
direction of writing are spelled out, as JSON would (`\\u001b`). Knows no terminal.
"""

from __future__ import annotations

import re

_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""All but tab and newline of what is obeyed or not seen; U+E0000 and on hide text in a text."""


def harmless(text: str, limit: int | None = None) -> str:
    """The text with what would be obeyed spelled out, and cut after `limit` characters."""
    if limit is not None and len(text) > limit:
        text = text[:limit] + "..."
    return text if text.isascii() and text.isprintable() else _OBEYED.sub(_spelled, text)


def one_line(text: str, limit: int | None = None) -> str:
    """The same, on one line: for names that somebody else made up."""
    return " ".join(harmless(text, limit).split())


def _spelled(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
