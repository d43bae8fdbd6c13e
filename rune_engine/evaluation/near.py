"""Which tasks are nearly the same, so that none judges an adapter that was taught it reworded.

Two descriptions are near when their sets of three-word shingles (Broder 1997) have a Jaccard
similarity of at least `NEAR`; how they are spaced, capitalised and punctuated makes no difference.
At 0.7 a "please" more, or a sentence about style at the end of a long one, makes no other task; one
other word in a short sentence (the largest, the smallest) does. Nearness is handed on: what is near
to one of a group belongs to it. Pure functions over texts.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

NEAR = 0.7
SHINGLE = 3

_WORD = re.compile(r"\w+")

Shingles = frozenset[tuple[str, ...]]


def shingles(text: str) -> Shingles:
    """Every three words of `text` that follow each other; a shorter text is one shingle."""
    words = _WORD.findall(text.casefold())
    if len(words) < SHINGLE:
        return frozenset([tuple(words) or (text,)])
    return frozenset(zip(*(words[start:] for start in range(SHINGLE)), strict=False))


def similarity(one: Shingles, other: Shingles) -> float:
    """Jaccard: what both have over what either has, 0 to 1."""
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def groups(texts: Sequence[str]) -> list[int]:
    """For each text the index of the first one of its group."""
    sets = [shingles(text) for text in texts]
    leader = list(range(len(texts)))

    def first(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for one, other in _near_pairs(sets):
        low, high = sorted((first(one), first(other)))
        leader[high] = low
    return [first(index) for index in range(len(texts))]


def _near_pairs(sets: Sequence[Shingles]) -> Iterable[tuple[int, int]]:
    """The pairs that are near.

    Two sets that are near share one of the rarest shingles of each, so only those are looked up
    (the prefix filter of Chaudhuri, Ganti and Kaushik 2006).
    """
    count = Counter(shingle for each in sets for shingle in each)
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, each in enumerate(sets):
        rarest = sorted(each, key=lambda shingle: (count[shingle], shingle))
        looked_up = rarest[: len(each) - math.ceil(NEAR * len(each)) + 1]
        candidates = {other for shingle in looked_up for other in holders[shingle]}
        for other in candidates:
            if similarity(each, sets[other]) >= NEAR:
                yield other, index
        for shingle in looked_up:
            holders[shingle].append(index)


def near_any(texts: Sequence[str], others: Sequence[str]) -> list[bool]:
    """For each of `texts` whether it is in a group with one of `others`."""
    group = groups([*others, *texts])
    taken = set(group[: len(others)])
    return [each in taken for each in group[len(others) :]]


def folds(texts: Sequence[str], count: int, seed: int = 0) -> list[list[int]]:
    """The indices of `texts` in `count` parts of much the same size; no group is parted.

    Tasks are parted, never attempts: give each task's description once. Parts that would be empty,
    because there are fewer groups than parts, are left out.
    """
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, leader in enumerate(groups(texts)):
        members[leader].append(index)
    shuffled = list(members.values())
    random.Random(seed).shuffle(shuffled)
    parts: list[list[int]] = [[] for _ in range(count)]
    for group in sorted(shuffled, key=len, reverse=True):
        min(parts, key=len).extend(group)
    return [sorted(part) for part in parts if part]
