"""Text in, text out: the code in a model's answer, and what a failed run may say back to it.

Knows nothing of models, sandboxes or the loop.
"""

from __future__ import annotations

import re

from rune_engine.models import Attempt

LONGEST_FEEDBACK = 600
"""Characters of error output that go back to the model: the end, where a traceback says why."""

_FENCED = re.compile(r"```[ \t]*(?:python|py)\b[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S | re.I)
_ANY_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")
_TURN_MARKER = re.compile(r"<\|([^|<>\n]{1,40})\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>")


def extract_code(text: str) -> str:
    """The first fenced Python block, else the first fenced block, else the text itself.

    A fence that is never closed (the answer was cut off) reaches to the end.
    """
    found = _FENCED.search(text) or _ANY_FENCE.search(text)
    return (found.group(1) if found else text).strip("\n")


def feedback(attempt: Attempt) -> str:
    """What a failed attempt printed, short and unable to forge a turn, for the model to read."""
    output = clean(attempt.stderr).strip() or clean(attempt.stdout).strip()
    if not output and attempt.verdict is not None:
        output = clean(str(attempt.verdict.get("message", "")))
    return output[-LONGEST_FEEDBACK:].strip() or "The tests failed without a message."


def clean(text: str) -> str:
    """Drop control characters; chat-template markers lose what makes them markers."""
    return _TURN_MARKER.sub(lambda m: m.group(0).strip("<>[]|/"), _CONTROL.sub("", text))
