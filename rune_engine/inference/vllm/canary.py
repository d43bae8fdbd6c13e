"""Does the server answer after a sleep as it did before? The same few tokens, asked both times.

Waking has lost adapters without a word (vLLM issue 53888). The canary bypasses the prefix cache,
and is asked twice beforehand: how far those two are apart is how exact this server is.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from rune_engine.inference.vllm.server import VllmServer

PROMPT = "def main(arguments: list[str]) -> int:\n    "
_TOKENS = 16
_SMALLEST_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Canary:
    """What a model or adapter said, greedily; `tolerance` is of a log-probability."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    tolerance: float = _SMALLEST_TOLERANCE

    def is_like(self, later: Canary) -> bool:
        return self.tokens == later.tokens and (
            _distance(self.logprobs, later.logprobs) <= self.tolerance
        )


async def ask(server: VllmServer, model: str) -> Canary:
    """Ask once."""
    answer = await server.complete(
        {
            "model": model,
            "prompt": PROMPT,
            "max_tokens": _TOKENS,
            "temperature": 0.0,
            "repetition_penalty": 1.0,
            "logprobs": 0,
            "return_token_ids": True,
            "cache_salt": secrets.token_hex(16),
        }
    )
    [choice] = answer["choices"]
    return Canary(tuple(choice["token_ids"]), tuple(choice["logprobs"]["token_logprobs"]))


async def record(server: VllmServer, model: str) -> Canary:
    """Ask twice, for what to expect and how exactly."""
    first, second = await ask(server, model), await ask(server, model)
    apart = _distance(first.logprobs, second.logprobs)
    return Canary(first.tokens, first.logprobs, max(_SMALLEST_TOLERANCE, 4 * apart))


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max((abs(a - b) for a, b in zip(one, other, strict=False)), default=0.0)
