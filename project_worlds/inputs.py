"""Inputs that tell operations apart: values of each kind, small enough to read in a test."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from project_worlds.operations import Kind

EMPTY: Mapping[Kind, str] = {"numbers": "[]", "words": "[]", "text": '""', "table": "{}"}
"""The empty input of each kind, as Python writes it."""

_WORDS = (
    "owl",
    "apple",
    "pear",
    "fig",
    "banana",
    "kiwi",
    "oak",
    "elm",
    "umbrella",
    "stone",
    "river",
    "ant",
    "ice",
    "lamp",
    "bread",
    "egg",
    "mountain",
    "sea",
    "iron",
    "tea",
    "orchid",
    "window",
    "arch",
    "cup",
    "violet",
)


def make_inputs(rng: random.Random, kind: Kind, count: int) -> list[Any]:
    """Two fixed inputs of this kind and `count` random ones.

    Raises:
        KeyError: tasks are not given values of this kind.
    """
    fixed, make = _MAKERS[kind]
    return [*fixed, *(make(rng) for _ in range(count))]


def _numbers(rng: random.Random) -> list[int]:
    return [rng.randint(-9, 12) for _ in range(rng.randint(6, 9))]


def _words(rng: random.Random) -> list[str]:
    chosen = [rng.choice(_WORDS) for _ in range(rng.randint(5, 7))]
    return [*chosen, rng.choice(chosen)]


def _text(rng: random.Random) -> str:
    words = [rng.choice((word, word.title())) for word in rng.sample(_WORDS, 4)]
    words.insert(2, str(rng.randint(2, 99)))
    text = " ".join(words).replace(" ", ", ", 1)
    return " " * rng.randint(0, 2) + text + " " * rng.randint(0, 2)


def _table(rng: random.Random) -> dict[str, int]:
    names = rng.sample(_WORDS, rng.randint(5, 6))
    values = rng.sample([*range(-6, 0), *range(1, 13)], len(names) - 1)
    return dict(zip(names, [*values, 0], strict=True))


_MAKERS: Mapping[Kind, tuple[list[Any], Any]] = {
    "numbers": ([[3, -4, 0, 6, 6, -1, 5, 2], [8, 7, -3, 7, -2, 0, 1, 4]], _numbers),
    "words": (
        [
            ["kiwi", "owl", "apple", "owl", "mountain", "ice"],
            ["umbrella", "fig", "pear", "ant", "fig", "bread"],
        ],
        _words,
    ),
    "text": (["  Owl 42, red apple ", "Ant, fig 7 and Ice"], _text),
    "table": (
        [
            {"kiwi": 4, "apple": 0, "owl": -3, "fig": 12},
            {"pear": -1, "ant": 9, "oak": 2, "sea": 0, "elm": 5},
        ],
        _table,
    ),
}
