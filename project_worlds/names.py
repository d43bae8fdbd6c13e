"""Names that no model has seen: pseudo-words made of syllables.

Every word belongs to exactly one split, decided by a hash of the word itself. A name made for
evaluation therefore shares no word with any name made for training, whatever the seeds. What learns
to make memories for a base model learns from names that are new to it, as those of evaluation are:
these are the split "meta_training".
"""

from __future__ import annotations

import keyword
import random
import sys
import zlib
from collections.abc import Set
from typing import Literal

Split = Literal["training", "meta_training", "evaluation"]

_SPLITS: tuple[Split, ...] = (
    "evaluation", "training", "training", "meta_training", "training", "training",
)  # fmt: skip
_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"
SYLLABLES: tuple[str, ...] = tuple(c + v for c in _CONSONANTS for v in _VOWELS)
_TAKEN: frozenset[str] = frozenset(sys.stdlib_module_names) | frozenset(keyword.kwlist)


def split_of(word: str) -> Split:
    """The split that a pseudo-word belongs to: two thirds, a sixth and a sixth of all."""
    return _SPLITS[zlib.crc32(word.encode()) % len(_SPLITS)]


def make_word(rng: random.Random, split: Split, syllables: int) -> str:
    """A pseudo-word of the split with this many syllables, e.g. "velo" or "sorima"."""
    while True:
        word = "".join(rng.choice(SYLLABLES) for _ in range(syllables))
        if split_of(word) == split and word not in _TAKEN:
            return word


def make_helper_name(rng: random.Random, split: Split, taken: Set[str] = frozenset()) -> str:
    """A helper's name such as "vato_milu"; its two words share no first syllable with `taken`."""
    heads = {name[:2] for name in taken}
    while True:
        name = f"{make_word(rng, split, 2)}_{make_word(rng, split, 2)}"
        if name not in taken and name[:2] not in heads:
            return name
