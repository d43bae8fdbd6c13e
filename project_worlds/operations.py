"""What the worlds' tasks ask for: operations on lists of integers, each in many wordings.

An operation has one `title` (the comment a house solution writes above its call) and several
`wordings` (how a task may ask for it). `plain` is the operation in plain Python; `body` is what a
project's helper function does. Knows nothing of projects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["list", "number"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on `xs`, a list of integers.

    Attributes:
        key: stable identifier.
        result: "list" when it returns a list, "number" when it ends a task.
        title: canonical imperative phrase.
        wordings: other phrases for the same thing, none equal to the title.
        plain: a Python expression over `xs`.
    """

    key: str
    result: Kind
    title: str
    plain: str
    wordings: tuple[str, ...]

    @property
    def phrases(self) -> tuple[str, ...]:
        """Every way to ask for it, the title first."""
        return (self.title, *self.wordings)


def _list(key: str, title: str, plain: str, *wordings: str) -> Operation:
    return Operation(key, "list", title, plain, wordings)


def _number(key: str, title: str, plain: str, *wordings: str) -> Operation:
    return Operation(key, "number", title, plain, wordings)


OPERATIONS: tuple[Operation, ...] = (
    _list(
        "evens",
        "keep the even numbers",
        "[x for x in xs if x % 2 == 0]",
        "drop everything odd",
        "leave only even values",
        "throw the odd ones away",
        "retain what two divides",
        "filter for even entries",
        "remove all odd numbers",
        "pick out the even ones",
    ),
    _list(
        "odds",
        "keep the odd numbers",
        "[x for x in xs if x % 2 == 1]",
        "drop everything even",
        "leave only odd values",
        "throw the even ones away",
        "retain what two does not divide",
        "filter for odd entries",
        "remove all even numbers",
        "pick out the odd ones",
    ),
    _list(
        "positives",
        "keep the positive numbers",
        "[x for x in xs if x > 0]",
        "drop everything that is not above zero",
        "leave only values over zero",
        "retain what is greater than zero",
        "filter for positive entries",
        "remove zeros and negatives",
        "pick out the positive ones",
    ),
    _list(
        "negatives",
        "keep the negative numbers",
        "[x for x in xs if x < 0]",
        "drop everything that is not below zero",
        "leave only values under zero",
        "retain what is less than zero",
        "filter for negative entries",
        "remove zeros and positives",
        "pick out the negative ones",
    ),
    _list(
        "nonzero",
        "drop the zeros",
        "[x for x in xs if x != 0]",
        "remove every zero",
        "leave zeros out",
        "keep what is not zero",
        "filter the zeros away",
        "throw zero entries out",
        "retain the nonzero values",
    ),
    _list(
        "unique",
        "drop the repeats",
        "list(dict.fromkeys(xs))",
        "remove duplicates",
        "keep each value once",
        "leave out what was seen before",
        "make the entries unique",
        "throw copies away",
        "retain first occurrences only",
    ),
    _list(
        "ascending",
        "sort upwards",
        "sorted(xs)",
        "order from small to large",
        "arrange in ascending order",
        "put the smallest first",
        "sort in increasing order",
        "rank from lowest to highest",
        "line them up by size, least first",
    ),
    _list(
        "descending",
        "sort downwards",
        "sorted(xs, reverse=True)",
        "order from large to small",
        "arrange in descending order",
        "put the largest first",
        "sort in decreasing order",
        "rank from highest to lowest",
        "line them up by size, greatest first",
    ),
    _list(
        "reverse",
        "reverse the order",
        "xs[::-1]",
        "turn the list around",
        "flip it back to front",
        "read it from the end",
        "put the last one first",
        "list it backwards",
        "mirror the sequence",
    ),
    _list(
        "double",
        "double each number",
        "[x * 2 for x in xs]",
        "multiply every entry by two",
        "make each value twice as big",
        "scale all of it by two",
        "take every number two times",
        "replace each by its double",
    ),
    _list(
        "square",
        "square each number",
        "[x * x for x in xs]",
        "multiply every entry by itself",
        "raise each value to the power of two",
        "take the squares",
        "replace each by its square",
        "compute every second power",
    ),
    _list(
        "increment",
        "add one to each number",
        "[x + 1 for x in xs]",
        "increase every entry by one",
        "bump each value up",
        "raise all of it by one",
        "shift every number up by one",
        "replace each by its successor",
    ),
    _list(
        "negate",
        "flip each sign",
        "[-x for x in xs]",
        "negate every entry",
        "change the sign of each value",
        "turn plus into minus and back",
        "multiply every number by minus one",
        "replace each by its opposite",
    ),
    _list(
        "absolute",
        "make each number absolute",
        "[abs(x) for x in xs]",
        "strip the signs",
        "take the magnitude of every entry",
        "ignore the sign of each value",
        "use distances from zero",
        "replace each by its absolute value",
    ),
    _list(
        "halve",
        "halve each number",
        "[x // 2 for x in xs]",
        "divide every entry by two",
        "make each value half as big",
        "cut all of it in half",
        "replace each by its half",
        "split every number in two",
    ),
    _list(
        "first_three",
        "take the first three",
        "xs[:3]",
        "keep three from the front",
        "cut after the third",
        "use only the leading three",
        "leave just the opening three entries",
        "stop once there are three",
    ),
    _list(
        "skip_first",
        "skip the first",
        "xs[1:]",
        "leave off the head",
        "drop the opening entry",
        "start at the second",
        "remove the front value",
        "cut the leading number off",
    ),
    _list(
        "totals",
        "build running totals",
        "[sum(xs[:i + 1]) for i in range(len(xs))]",
        "accumulate as you go",
        "compute cumulative sums",
        "replace each by the total so far",
        "keep a running sum",
        "add up step by step",
    ),
    _number(
        "sum",
        "sum the numbers",
        "sum(xs)",
        "add them all up",
        "return the total",
        "compute the overall sum",
        "give what they come to together",
        "tell how much it makes in all",
        "report the grand total",
    ),
    _number(
        "largest",
        "find the largest",
        "max(xs)",
        "return the maximum",
        "give the biggest one",
        "tell which is greatest",
        "pick the top value",
        "report the highest number",
    ),
    _number(
        "smallest",
        "find the smallest",
        "min(xs)",
        "return the minimum",
        "give the least one",
        "tell which is lowest",
        "pick the bottom value",
        "report the lowest number",
    ),
    _number(
        "count",
        "count the numbers",
        "len(xs)",
        "return how many there are",
        "give the length",
        "tell the number of entries",
        "work out the size of the list",
        "report how many are left",
    ),
    _number(
        "product",
        "multiply the numbers",
        "math.prod(xs)",
        "return the product",
        "give the product of all of them",
        "compute them times each other",
        "take all factors together",
        "report what multiplying them yields",
    ),
    _number(
        "spread",
        "find the spread",
        "max(xs) - min(xs)",
        "return the range of values",
        "give the gap between extremes",
        "subtract the minimum from the maximum",
        "tell how far apart the ends are",
        "report the distance from lowest to highest",
    ),
    _number(
        "mean",
        "average the numbers",
        "sum(xs) / len(xs)",
        "return the mean",
        "give the average value",
        "compute the arithmetic mean",
        "tell what they are on average",
        "report the typical value",
    ),
    _number(
        "last",
        "return the last",
        "xs[-1]",
        "give the final entry",
        "tell what comes at the end",
        "pick the closing value",
        "report the one at the tail",
        "fetch the end of the list",
    ),
)

BY_KEY: dict[str, Operation] = {operation.key: operation for operation in OPERATIONS}
