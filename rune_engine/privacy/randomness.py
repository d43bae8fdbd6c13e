"""Tokens without a known form that look too random to be words: keys in base64, hex or base 36.

The limits of entropy are those of `detect-secrets`. Entropy alone takes long names for keys, and a
key of 20 characters cannot reach its limit; so how often neighbouring characters change their class
(lower, upper, digit) decides: two in three times in a random text, one in five in a name.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from rune_engine.privacy.spans import Span

HEX_LIMIT = 3.0
"""Bits per character, as in `detect-secrets`; a random key has about 3.7."""
SHORTEST = 20

_CANDIDATE = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9+_-]{20,}={0,2}", re.ASCII)
_ADDRESS = re.compile(r"://[^\s\"'?]*\Z")
_WORD = re.compile(r"[a-z]{3,}")
_HEX = re.compile(r"(?:[0-9a-f]{32,}|[0-9A-F]{32,})")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NO_SECRET = re.compile(
    r"sha-?\d|md5|digest|checksum|hash|commit|revision|\brev\b|etag|integrity|blob|uuid|guid"
    r"|fingerprint|\bindex\b|\bcrc|merge|parent\b|\btree\b|abcdef|0123456",
    re.I,
)
_DATA = re.compile(r"(?:base64,|sha\d{1,3}[-:])$")
_CONTEXT_CHARS = 120


def spans(text: str) -> Iterator[Span]:
    """Every token of the text that looks random."""
    for match in _CANDIDATE.finditer(text):
        for start, end in _parts(text, *match.span()):
            kind = kind_of(text[start:end])
            if kind and not _is_known_data(text, start, kind):
                yield Span(start, end, kind)


def kind_of(token: str) -> str | None:
    """`random-hex` or `random-text` when the token looks random, else None."""
    body = token.rstrip("=")
    if body.isdigit() or _UUID.fullmatch(body):
        return None
    if _HEX.fullmatch(body):
        return "random-hex" if entropy(body) > HEX_LIMIT else None
    return "random-text" if _is_random(body) else None


def entropy(token: str) -> float:
    """Shannon entropy in bits per character."""
    counts = Counter(token).values()
    return -sum(count / len(token) * math.log2(count / len(token)) for count in counts)


def _parts(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The candidate itself, or the long parts of an address and of what has too many slashes."""
    many = text.count("/", start, end) > max(4, (end - start) // 8)
    if not many and not _ADDRESS.search(text[max(0, start - _CONTEXT_CHARS) : start]):
        yield start, end
        return
    for part in _PART.finditer(text, start, end):
        yield part.span()


def _is_random(body: str) -> bool:
    classes = "".join(map(_class_of, body))
    lower, upper, digits = (classes.count(kind) for kind in "lud")
    if classes.count("s") > len(body) * 0.15:
        return False
    pairs = [pair for pair in pairwise(classes) if "s" not in pair]
    changes = sum(one != other for one, other in pairs) / max(len(pairs), 1)
    if lower and upper:
        long = len(body) >= 32
        words = sum(map(len, _WORD.findall(body)))
        if changes < 0.3 or words > len(body) * (0.65 if long else 0.5):
            return False
        return entropy(body) >= 3.6 and (digits > 0 or (long and changes >= 0.42))
    return len(body) >= 24 and digits >= 3 and changes >= 0.25 and entropy(body) >= 3.4


def _class_of(character: str) -> str:
    if character.islower():
        return "l"
    if character.isupper():
        return "u"
    return "d" if character.isdigit() else "s"


def _is_known_data(text: str, start: int, kind: str) -> bool:
    """Whether the words before a token say that it is a checksum, a revision or an image."""
    line = text.rfind("\n", 0, start) + 1
    before = text[max(line, start - _CONTEXT_CHARS) : start]
    if _DATA.search(before):
        return True
    if kind != "random-hex":
        return False
    end = text.find("\n", start)
    after = text[start : end if end >= 0 else len(text)][: _CONTEXT_CHARS * 2]
    return bool(_NO_SECRET.search(before) or _NO_SECRET.search(after))
