"""What is nearly the same task stays on one side, whatever is parted."""

from __future__ import annotations

import random
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from rune_engine.evaluation.near import NEAR, folds, groups, near_any, shingles, similarity

PARSE = "Write a function that parses ISO dates from a log line and returns them sorted by day."
WORDS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=9).map(" ".join)


def test_more_politeness_and_other_punctuation_make_no_other_task() -> None:
    reworded = f"Please, {PARSE.lower().removesuffix('.')}!"
    assert groups([PARSE, "Reverse the words of a line.", reworded]) == [0, 1, 0]


def test_another_word_in_a_short_sentence_is_another_task() -> None:
    asked = ["Return the largest of the numbers.", "Return the smallest of the numbers."]
    assert groups(asked) == [0, 1]
    assert groups([f"Add two numbers, {n}." for n in range(4)]) == [0, 1, 2, 3]


def test_nearness_is_handed_on() -> None:
    words = [f"word{number}" for number in range(12)]
    chain = [" ".join(words[:size]) for size in (8, 10, 12)]
    first, _, last = map(shingles, chain)
    assert similarity(first, last) < NEAR
    assert groups(chain) == [0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=12))
def test_every_near_pair_is_found(texts: list[str]) -> None:
    """Beside a search of all pairs: the rarest shingles are enough to look up."""
    found = groups(texts)
    sets = [shingles(text) for text in texts]
    parent = list(range(len(texts)))
    for _ in texts:
        for one, other in combinations(range(len(texts)), 2):
            if similarity(sets[one], sets[other]) >= NEAR:
                parent[one] = parent[other] = min(parent[one], parent[other])
    assert found == parent


def test_a_task_near_to_one_that_was_taught_is_told() -> None:
    near = near_any([f"{PARSE} Thanks.", "Reverse the words of a line."], [PARSE])
    assert near == [True, False]


@given(st.integers(2, 6), st.integers(0, 5))
def test_folds_part_tasks_but_never_a_task_and_its_duplicates(count: int, seed: int) -> None:
    rng = random.Random(seed)
    texts = [f"{n} {n + 1} {n + 2} {n + 3} {n + 4} {n + 5}" for n in range(0, 200, 20)]
    texts += [f"please {rng.choice(texts)} now then" for _ in range(3)] + texts[:2]
    parts = folds(texts, count, seed)
    assert sorted(index for part in parts for index in part) == list(range(len(texts)))
    side = {index: number for number, part in enumerate(parts) for index in part}
    group = groups(texts)
    assert all(side[index] == side[leader] for index, leader in enumerate(group))
    assert max(map(len, parts)) - min(map(len, parts)) <= 4
    assert folds(texts, count, seed) == parts


def test_fewer_tasks_than_folds_leave_no_empty_fold() -> None:
    assert folds(["one task of a kind", "one task of a kind"], 5) == [[0, 1]]
