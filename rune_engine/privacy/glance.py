"""One glance at a text that tells much of it clean, in linear time.

It asks less than the detectors do, and so never misses what they would find: an anchor of a known
form anywhere, a telling name before a sign of assignment, a long run that is no plain word. RE2
looks for all of it at once, in a tenth of the time that the detectors take.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from rune_engine.privacy import forms
from rune_engine.privacy.assignments import STEMS

_COMMON = {
    ".": r"[mno][a-z0-9_-]{23,25}\.[a-z0-9_-]{6}\.",
    ":": r"[0-9]{8}:[a-z0-9_-]{35}",
    "ac": r"ac[a-z0-9]{32}",
    "sk": r"sk[a-z0-9]{32}",
}
"""Anchors that are everywhere, and what stands around them in a secret."""
_LETTER = r"[0-9A-Za-z_\x{80}-\x{10FFFF}-]"
"""Of a name: letters of any script, digits, underscores and hyphens."""
_NAME = rf"(?:{STEMS}){_LETTER}*[\\\"'\]`]*"
_ASSIGNED = (
    rf"{_NAME}[ \t]*(?::|=|!=|is)",
    rf"{_NAME}(?:>|[ \t]+[brf]*\\*[\"'`])",
    rf"--{_LETTER}*{_NAME}[ \t]",
)
_KEYS = ("private key", "private-lines")
_RUN = r"[A-Za-z0-9+/_-]{20,}"
_ODD = r"[A-Z0-9]"


def is_plainly_clean(text: str) -> bool:
    """Whether a text holds nothing that is worth looking closer at."""
    return not may_hold_secret(text, text.lower())


def may_hold_secret(text: str, lowered: str) -> bool:
    """Whether it is worth looking closer; `lowered` is the text in lower case."""
    telling, run, odd = _patterns()
    try:
        if telling.search(lowered) is not None:
            return True
        return any(odd.search(found) is not None for found in run.findall(text))
    except UnicodeEncodeError:  # half a character; RE2 reads UTF-8
        return True


@cache
def _patterns() -> tuple[Any, Any, Any]:
    import re2

    anchors = {anchor for form in forms.all_forms() for anchor in form.anchors}
    telling = [_COMMON.get(anchor) or re2.escape(anchor) for anchor in sorted(anchors)]
    telling += [*_ASSIGNED, *map(re2.escape, _KEYS)]
    return re2.compile("|".join(telling)), re2.compile(_RUN), re2.compile(_ODD)
