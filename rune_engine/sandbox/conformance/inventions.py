"""Y: forgeries of our own invention, for graders that know the usual ones. None may pass."""

from __future__ import annotations

from rune_engine.sandbox.conformance import false_answers, false_ground
from rune_engine.sandbox.conformance.attack import Forgery

_NAMED = {**false_answers.CANDIDATES, **false_ground.CANDIDATES}

FORGERIES = tuple(
    Forgery(f"Y{number}", name, candidate)
    for number, (name, candidate) in enumerate(_NAMED.items(), start=1)
)
