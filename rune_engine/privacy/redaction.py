"""One text in, the same text without its secrets out.

Clean text, which is nearly all text, is looked at once and returned as it is. What was found is
replaced everywhere in the text, also where nothing else would tell it: a password that a program
was given and then printed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rune_engine.privacy import assignments, forms, keys, randomness
from rune_engine.privacy.glance import is_plainly_clean
from rune_engine.privacy.spans import MARKER, Span, marker, merge, replace

_PASSES = 10
"""More than any text needs: each leaves less that is no marker."""
_SHORTEST_KNOWN = 8


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without its secrets, and how many of each kind were replaced in it."""

    text: str
    found: dict[str, int] = field(default_factory=dict)


def redact(text: str) -> Redacted:
    """Replace every secret by `[secret:KIND]`. Doing it again changes nothing more."""
    known: dict[str, str] = {}
    clean = replace_found(text, known)
    if known:
        clean = replace_known(clean, known)
    found = Counter(secrets_in(clean))
    found.subtract(secrets_in(text))
    return Redacted(clean, {kind: count for kind, count in found.items() if count > 0})


def is_clean(text: str) -> bool:
    """Whether nothing in a text can be told to be a secret.

    Only keys have several lines: of all else a line that comes twice is looked at once, and the
    attempts at a task repeat most of theirs.
    """
    if is_plainly_clean(text):
        return True
    if next(keys.spans(text), None) is not None:
        return False
    lines = "\n".join(dict.fromkeys(text.split("\n")))
    return next(_spans(lines), None) is None


def replace_found(text: str, known: dict[str, str]) -> str:
    """Replace what can be told to be a secret; adds the values that are worth looking for
    elsewhere to `known`, with their kinds."""
    for _ in range(_PASSES):
        spans = merge(_spans(text), text)
        if not spans:
            break
        for span in spans:
            value = text[span.start : span.end]
            if is_worth_knowing(value):
                known.setdefault(value, span.kind)
        text = replace(text, spans)
    return text


def replace_known(text: str, known: Mapping[str, str]) -> str:
    """Replace values that were found to be secrets elsewhere, wherever they stand alone."""
    present = sorted((value for value in known if value in text), key=len, reverse=True)
    if not present:
        return text
    pattern = re.compile(
        r"(?<![A-Za-z0-9])(?:" + "|".join(map(re.escape, present)) + r")(?![A-Za-z0-9])"
    )
    pieces, end = [], 0
    for kept in (*MARKER.finditer(text), None):
        stop = kept.start() if kept else len(text)
        pieces.append(pattern.sub(lambda found: marker(known[found.group()]), text[end:stop]))
        if kept:
            pieces.append(kept.group())
            end = kept.end()
    return "".join(pieces)


def replace_forms(text: str, bracket: str = "secret:{}") -> str:
    """Replace what its form alone tells to be a secret, for identifiers, which may look random."""
    lowered = _lower(text)
    spans = merge(forms.spans(text, lowered), text)
    for span in reversed(spans):
        text = text[: span.start] + bracket.format(span.kind) + text[span.end :]
    return text


def secrets_in(text: str) -> dict[str, int]:
    """How many secrets of each kind were replaced in a text."""
    if "[secret:" not in text:
        return {}
    return dict(Counter(found.group(1) for found in MARKER.finditer(text)))


def _spans(text: str) -> Iterator[Span]:
    lowered = _lower(text)
    yield from keys.spans(text)
    yield from forms.spans(text, lowered)
    yield from assignments.spans(text, lowered)
    yield from randomness.spans(text)


def _lower(text: str) -> str:
    """The text in lower case, character for character: some letters become two otherwise."""
    lowered = text.lower()
    if len(lowered) != len(text):
        return "".join(letter.lower() if letter.isascii() else letter for letter in text)
    return lowered


def is_worth_knowing(value: str) -> bool:
    """Whether a value is long and odd enough to be replaced wherever it stands."""
    return (
        len(value) >= _SHORTEST_KNOWN
        and "\n" not in value
        and not MARKER.search(value)
        and not value.replace("_", "").replace("-", "").isalpha()
    )
