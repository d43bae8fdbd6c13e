"""One glance at a text that tells much of it clean, in linear time.

It asks less than the detectors do, and so never misses what they would find: an anchor of a known
form anywhere, a telling name before a sign of assignment, a long run that is no plain word. RE2
looks for all of it at once, in a tenth of the time that the detectors take.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

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
    patterns = _patterns()
    try:
        if patterns.any.search(text) is None:
            return True
        if patterns.telling.search(text.lower()) is not None:
            return False
        return all(patterns.odd.search(run) is None for run in patterns.run.findall(text))
    except UnicodeEncodeError:  # half a character; RE2 reads UTF-8
        return False


def is_plain_name(name: str) -> bool:
    """Whether nothing in an identifier or name has a known form; it may look random."""
    return _patterns().telling.search(name.lower()) is None


class _Patterns(NamedTuple):
    telling: Any
    run: Any
    odd: Any
    any: Any


@cache
def _patterns() -> _Patterns:
    import re2

    anchors = {anchor for form in forms.all_forms() for anchor in form.anchors}
    parts = [_COMMON.get(anchor) or re2.escape(anchor) for anchor in sorted(anchors)]
    telling = "|".join((*parts, *_ASSIGNED, *map(re2.escape, _KEYS)))
    both = f"(?i:{telling})|{_RUN}"
    return _Patterns(*map(re2.compile, (telling, _RUN, _ODD, both)))
