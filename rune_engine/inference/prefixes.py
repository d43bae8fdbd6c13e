"""What conversations have been read lately, so that their next turn is not read from the start.

Kept under the adapter that read them AND their token ids: an adapter changes every key and value,
so nothing read with one may ever answer for another, nor for the base model. Runs in the worker
process only; knows nothing of models or requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from rune_engine.inference.key_values import Kept


@dataclass(frozen=True, slots=True, eq=False)
class _Conversation:
    key: str | None
    tokens: list[int]
    kept: Kept
    size: int


class Prefixes:
    """Recent conversations; the least recently used goes first.

    Args:
        budget: bytes that they may take; 0 keeps none.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._taken = 0
        self._recent: OrderedDict[int, _Conversation] = OrderedDict()

    def find(self, key: str | None, tokens: list[int]) -> tuple[Kept, int] | None:
        """The conversation that begins most like `tokens`, and how many it has in common.

        The last of `tokens` never counts: reading it is what tells the next one.
        """
        best, longest = None, 0
        for number, conversation in self._recent.items():
            if conversation.key == key:
                common = common_prefix(conversation.tokens, tokens[:-1])
                if common > longest:
                    best, longest = number, common
        if best is None:
            return None
        self._recent.move_to_end(best)
        return self._recent[best].kept, longest

    def keep(self, key: str | None, tokens: list[int], size: int, copy: Callable[[], Kept]) -> None:
        """Remember a conversation that was read with `key`; those it goes on from are replaced.

        `copy` makes what is kept, of `size` bytes, and is called only where it is.
        """
        if size > self._budget or not tokens:
            return
        for number, known in list(self._recent.items()):
            common = common_prefix(known.tokens, tokens) if known.key == key else 0
            if common == len(tokens):
                self._recent.move_to_end(number)
                return
            if common == len(known.tokens):
                self._forget(number)
        conversation = _Conversation(key, tokens, copy(), size)
        self._recent[id(conversation)] = conversation
        self._taken += size
        while self._taken > self._budget:
            self._forget(next(iter(self._recent)))

    def _forget(self, number: int) -> None:
        self._taken -= self._recent.pop(number).size


def common_prefix(one: list[int], other: list[int]) -> int:
    """How many tokens both begin with: comparing slices, each half as long as the last."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
