"""What a failed attempt looks like in the next prompt.

The agent loop and the trainers both use it, so that an adapter learns to repair from exactly the
text in which it will be told. Output of untrusted code goes into a prompt here: control
characters and chat markers are taken out, so that it cannot forge a turn of the conversation.
"""

from __future__ import annotations

import re

from rune_engine.models import Attempt

MAX_CHARS = 600
_NOTHING = "The tests did not pass."
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_MARKER = re.compile(r"<\|[^|>\n]{0,40}\|>")


def failure_output(attempt: Attempt) -> str:
    """The end of what the attempt printed to stderr, else to stdout, else its verdict's words."""
    said = str((attempt.verdict or {}).get("message", ""))
    return shown(attempt.stderr.strip() or attempt.stdout.strip() or said or _NOTHING)


def shown(output: str) -> str:
    """The end of an output, without what could forge a turn."""
    text = _MARKER.sub("", _CONTROL.sub("", output.strip()))
    if len(text) <= MAX_CHARS:
        return text
    tail = text[-MAX_CHARS:]
    return tail[tail.find("\n") + 1 :]
