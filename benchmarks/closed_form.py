"""What a closed-form distillation takes after its forward pass, at the shape of any model.

    python -m benchmarks.closed_form [--width 18944 --hidden 3584 --vocabulary 152064]

Rows are random, so no model is needed. Prints one JSON object: the seconds of reading the rows'
values, of a solve and of judging one candidate, and the process's peak memory beside its estimate.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainers.closed_form import memory
from trainers.closed_form.base_files import BaseShape
from trainers.closed_form.choosing import Lesson
from trainers.closed_form.evidence import Evidence
from trainers.closed_form.kept import Kept
from trainers.closed_form.known import MOST_ROWS, Known
from trainers.closed_form.output import Output
from trainers.free_memory import held_memory
from trainers.protocol import peak_memory_bytes


def main() -> None:
    """Measure one shape."""
    asked = _asked()
    held, times = held_memory(), dict[str, float]()
    shape = BaseShape(28, asked.hidden, asked.width, asked.vocabulary, 1e-6, False, 32768)
    head = torch.randn(asked.vocabulary, asked.hidden, dtype=torch.bfloat16)
    output = Output(torch.ones(asked.hidden), head, shape.epsilon)
    known = Known(torch.randn(min(MOST_ROWS, asked.width), asked.width), 0.01)
    kept = []
    with _timed(times, "values"):
        for _ in range(asked.sessions):
            evidence = _evidence(asked)
            kept.append(Kept.of(evidence, output.values(evidence)))
    with _timed(times, "products"):
        lesson = Lesson([kept[::2], kept[1::2]], known)
    with _timed(times, "solve"):
        update = lesson.solve(30.0, 32)
    with _timed(times, "judge"):
        judged = kept[0].judged
        output.losses(judged, update.moves(judged.keys))
    rows = asked.sessions * asked.tokens
    need = memory.estimate(shape, 0, 2, longest=0, rows=rows, known=len(known.rows), asked=0)
    found = {
        "shape": vars(asked),
        "seconds": {name: round(seconds, 2) for name, seconds in times.items()},
        "peak_bytes": peak_memory_bytes(),
        "estimated_bytes": held + need.on("cpu"),
        "process_bytes": held,
        "kept_bytes_a_token": 2 * (asked.width + 2 * asked.hidden) + 4,
        "known_bytes": 2 * known.rows.numel(),
    }
    print(json.dumps(found, indent=1))


def _evidence(asked: argparse.Namespace) -> Evidence:
    states = torch.randn(asked.tokens, asked.hidden)
    tokens = torch.randint(0, asked.vocabulary, (asked.tokens,))
    return Evidence(torch.randn(asked.tokens, asked.width), states, tokens)


@contextmanager
def _timed(times: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    times[name] = time.monotonic() - began


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=18944)
    parser.add_argument("--hidden", type=int, default=3584)
    parser.add_argument("--vocabulary", type=int, default=152064)
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=300, help="Answer tokens of a session.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
