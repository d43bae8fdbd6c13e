"""Which units say the same: a cherry-pick, a change that was undone, one that was made twice.

Judged over all that a history gave, newest first: of what says the same, the newest stays. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from rune_engine.mining.history import Target
from rune_engine.mining.units import fingerprint

SAME_CHANGE = "the same change as a newer commit's"
UNDONE = "undone by a newer commit"
NEARLY = "nearly the same as a newer commit's"

NEAR = 0.95
_SHINGLE = 5
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Marks:
    """What is kept of a unit to recognise another: hashes, no text."""

    name: str
    before: str
    after: str
    change: str
    undoing: str
    words_before: frozenset[int]
    words_after: frozenset[int]


def marks(target: Target) -> Marks:
    unit = target.unit
    before = unit.before or ""
    gone, come = _lines(before, unit.after)
    return Marks(
        name=f"{target.path.rpartition('/')[2]}:{unit.name}",
        before=_hash(fingerprint(before)) if before else "",
        after=_hash(fingerprint(unit.after)),
        change=_hash("\n".join(["-", *gone, "+", *come])),
        undoing=_hash("\n".join(["-", *come, "+", *gone])),
        words_before=_shingles(before),
        words_after=_shingles(unit.after),
    )


def doubles(found: Sequence[Marks]) -> dict[int, str]:
    """Which of them to leave out, by their place, and why. Newest first."""
    out: dict[int, str] = {}
    changes: set[str] = set()
    pairs: dict[tuple[str, str], int] = {}
    named: dict[str, list[Marks]] = {}
    for place, one in enumerate(found):
        undone = pairs.get((one.name + one.after, one.name + one.before))
        if one.before and undone is not None:
            out[place] = out[undone] = UNDONE
        elif one.change in changes:
            out[place] = SAME_CHANGE
        elif any(_is_near(one, other) for other in named.get(one.name, ())):
            out[place] = NEARLY
        changes.add(one.change)
        pairs.setdefault((one.name + one.before, one.name + one.after), place)
        named.setdefault(one.name, []).append(one)
    return out


def _is_near(one: Marks, other: Marks) -> bool:
    """Both versions of both; two steps of one function's life differ in at least one of them."""
    return (
        _alike(one.words_after, other.words_after) >= NEAR
        and _alike(one.words_before, other.words_before) >= NEAR
    )


def _alike(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def _lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that went and those that came, without their layout."""
    old, new = ([" ".join(line.split()) for line in text.split("\n")] for text in (before, after))
    gone, come = [], []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            gone += old[a:b]
            come += new[c:d]
    return list(filter(None, gone)), list(filter(None, come))


def _shingles(text: str) -> frozenset[int]:
    words = _WORD.findall(text)
    spots = range(max(1, len(words) - _SHINGLE + 1))
    return (
        frozenset(hash(tuple(words[spot : spot + _SHINGLE])) for spot in spots)
        if words
        else frozenset()
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
