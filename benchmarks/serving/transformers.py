"""The Transformers back-end beside Transformers itself: switching, tokens, retries, a fleet.

    python -m benchmarks.serving.transformers --shape rune-nano --json transformers.json
    python -m benchmarks.serving.transformers --shape qwen2.5-coder-0.5b

Both sides of each comparison take turns in one run, with the same weights, precision and threads;
CPU seconds are those of this process and of the worker together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.random_models import NANO, SHAPES, make_adapter, make_base
from benchmarks.serving.side import BUDGET_FOR, FLEET, WORDS, Side, compared
from rune_engine.config import ServingSettings
from rune_engine.inference.provider import (
    AdapterRef,
    ChatMessage,
    Generation,
    GenerationRequest,
)
from rune_engine.inference.transformers import TransformersProvider

SECTIONS = ("alone", "batch", "switch", "retries", "fleet")
ADAPTERS_BYTES = 4 * 1024**3
END = 2


class Measured:
    """One provider, and its calls on a clock."""

    def __init__(self, base: Path, threads: int, **serving: Any) -> None:
        settings = ServingSettings(**serving)
        self.provider = TransformersProvider(base.name, base, threads, 3600.0, settings)

    async def call(
        self, side: Side, requests: Sequence[GenerationRequest], adapter: AdapterRef | None = None
    ) -> list[Generation]:
        with side.timed(self.provider.status().worker_pids):
            answers = await self.provider.generate(requests, adapter=adapter)
        side.tokens += sum(answer.completion_tokens for answer in answers)
        return answers


class Direct:
    """`generate` of Transformers, called in this process."""

    def __init__(self, base: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from rune_engine.inference.base_weights import compute_dtype

        torch.set_num_threads(threads)
        self._base = base
        self._tokenizer: Any = AutoTokenizer.from_pretrained(base)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = compute_dtype(base, "auto", device)
        self._model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=self._dtype).to(device)
        self._model.eval()

    def generate(self, side: Side, texts: Sequence[str], tokens: int) -> None:
        import torch

        with side.timed(), torch.inference_mode():
            made = self._tokenizer(
                list(texts), return_tensors="pt", padding=True, padding_side="left"
            ).to(self._model.device)
            out = self._model.generate(
                input_ids=made["input_ids"],
                attention_mask=made["attention_mask"],
                do_sample=False,
                max_new_tokens=tokens,
                eos_token_id=END,
                pad_token_id=0,
            )
            made_tokens = out[:, made["input_ids"].shape[1] :].tolist()
            self._tokenizer.batch_decode(made_tokens, skip_special_tokens=True)
        # What comes after a row's end is padding, and no answer.
        side.tokens += sum(row.index(END) + 1 if END in row else len(row) for row in made_tokens)

    def reload_seconds(self, adapter: AdapterRef) -> float:
        """Loading the base model and an adapter anew, as without switching."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        start = time.perf_counter()
        model = AutoModelForCausalLM.from_pretrained(self._base, dtype=self._dtype)
        PeftModel.from_pretrained(model, adapter.path)
        return time.perf_counter() - start


def text(number: int, words: int) -> str:
    """A text that no other number has, from its first word on."""
    chosen = random.Random(number)
    return f"{number} " + " ".join(chosen.choice(WORDS) for _ in range(words))


def raw(number: int, words: int, tokens: int) -> GenerationRequest:
    return GenerationRequest(prompt=text(number, words), max_tokens=tokens)


async def switching(rune: Measured, adapters: Sequence[AdapterRef], times: int) -> dict[str, Any]:
    """To the first token of an uncached prompt: another loaded adapter than before, or the same."""
    for adapter in adapters:
        await rune.provider.generate([raw(0, 8, 1)], adapter=adapter)
    same, other = Side(), Side()
    current = 0
    for turn in range(times):
        first, second = (same, other) if turn % 2 else (other, same)
        for number, side in enumerate((first, second)):
            if side is other:
                current = (current + 1) % len(adapters)
            request = raw(1_000_000 + 2 * turn + number, 40, 1)
            await rune.call(side, [request], adapters[current])
    extra = [b - a for a, b in zip(same.wall, other.wall, strict=True)]
    return {
        "unswitched_ms": _ms(same.wall),
        "switched_ms": _ms(other.wall),
        "extra_ms": _ms(extra),
        "extra_cpu_ms": _ms([b - a for a, b in zip(same.cpu, other.cpu, strict=True)]),
        "ratio": round(statistics.median(other.wall) / statistics.median(same.wall), 4),
    }


async def tokens(rune: Measured, direct: Direct, rows: int, new: int, times: int) -> dict[str, Any]:
    """Greedy tokens per second, prompts of several lengths together."""
    ours, theirs = Side(), Side()
    for turn in range(times + 1):
        numbers = [2_000_000 + turn * rows + row for row in range(rows)]
        texts = [text(number, 24 + 2 * (row % 4)) for row, number in enumerate(numbers)]
        requests = [GenerationRequest(prompt=each, max_tokens=new) for each in texts]
        if turn == 0:  # both warm up
            await rune.call(Side(), requests)
            direct.generate(Side(), texts, new)
            continue
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda requests=requests: rune.call(ours, requests),  # type: ignore[misc]
            lambda texts=texts: asyncio.to_thread(direct.generate, theirs, texts, new),  # type: ignore[misc]
        ]
        for call in calls if turn % 2 else calls[::-1]:
            await call()
    return {"rows": rows, **compared(ours, theirs)}


async def retries(
    base: Path, threads: int, adapter: AdapterRef, words: int, new: int, times: int
) -> dict[str, Any]:
    """A task tried four times, each attempt in the conversation so far; with and without reuse."""
    sides = {"with": Side(), "without": Side()}
    budgets = {"with": 512 * 1024**2, "without": 0}
    runes = {name: Measured(base, threads, prefix_memory_bytes=b) for name, b in budgets.items()}
    lengths: list[int] = []
    try:
        for rune in runes.values():
            await rune.provider.generate([raw(0, 8, 1)], adapter=adapter)
        for turn in range(times):
            for name in list(runes) if turn % 2 else list(runes)[::-1]:
                lengths = await _attempts(runes[name], sides[name], adapter, turn, words, new)
    finally:
        for rune in runes.values():
            await rune.provider.close()
    wall = {name: statistics.median(side.wall) for name, side in sides.items()}
    cpu = {name: sum(side.cpu) for name, side in sides.items()}
    return {
        "prompt_tokens": lengths,
        "new_tokens": new,
        "seconds_per_attempt": {name: round(value, 3) for name, value in wall.items()},
        "ratio": round(sum(sides["without"].wall) / sum(sides["with"].wall), 2),
        "ratio_cpu": round(cpu["without"] / cpu["with"], 2),
    }


async def _attempts(
    rune: Measured, side: Side, adapter: AdapterRef, number: int, words: int, new: int
) -> list[int]:
    """Four attempts; how many tokens their prompts had."""
    task = ChatMessage("user", text(3_000_000 + number, words))
    messages = [ChatMessage("system", "You write Python."), task]
    lengths = []
    for attempt in range(4):
        request = GenerationRequest(messages=tuple(messages), max_tokens=new)
        [answer] = await rune.call(side, [request], adapter)
        lengths.append(answer.prompt_tokens)
        messages.append(ChatMessage("assistant", answer.text))
        messages.append(ChatMessage("user", text(4_000_000 + attempt, words // 10)))
    return lengths


async def fleet(
    base: Path, threads: int, adapters: Sequence[AdapterRef], times: int
) -> dict[str, Any]:
    """200 adapters in Zipf order where 25 fit, beside 25 that fit; then every answer is checked."""
    size = sum(path.stat().st_size for path in adapters[0].path.iterdir())
    halved = _times_smaller(base)
    budget = BUDGET_FOR * size // halved
    rune = Measured(base, threads, adapter_memory_bytes=budget, prefix_memory_bytes=0)
    many, few, orders = Side(), Side(), random.Random(0)
    shares = [1 / (rank + 1) for rank in range(len(adapters))]
    answers: dict[AdapterRef, Generation] = {}
    wrong = 0
    try:
        for adapter in adapters[:BUDGET_FOR]:
            await rune.provider.generate([raw(0, 8, 1)], adapter=adapter)
        for turn in range(times):
            for side, known in ((many, FLEET), (few, BUDGET_FOR))[:: 1 if turn % 2 else -1]:
                for adapter in orders.choices(adapters[:known], shares[:known], k=25):
                    [answer] = await rune.call(side, [raw(5_000_000, 20, 16)], adapter)
                    wrong += answers.setdefault(adapter, answer) != answer
    finally:
        await rune.provider.close()
    alone = Measured(base, threads, adapter_memory_bytes=0, prefix_memory_bytes=0)
    for adapter, known_answer in answers.items():
        wrong += (await alone.call(Side(), [raw(5_000_000, 20, 16)], adapter))[0] != known_answer
    await alone.provider.close()
    return {
        "adapters": len(adapters),
        "adapters_used": len(answers),
        "distinct_answers": len({answer.text for answer in answers.values()}),
        "wrong_answers": wrong,
        **compared(many, few),
    }


def _times_smaller(base: Path) -> int:
    """How many times smaller an adapter is in memory than on disk, where it is float32."""
    import torch

    from rune_engine.inference.base_weights import compute_dtype

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return 4 // compute_dtype(base, "auto", device).itemsize


def measure(
    shape: str = NANO, threads: int = 1, times: int = 8, only: Sequence[str] = SECTIONS
) -> dict[str, Any]:
    """Every figure of the sections asked for, by its name."""
    with tempfile.TemporaryDirectory(prefix="rune-bench-") as scratch:
        base = make_base(shape, Path(scratch) / shape)
        count = FLEET if "fleet" in only else 4
        adapters = [make_adapter(base, Path(scratch) / f"a{n}", n) for n in range(count)]
        return asyncio.run(_Run(shape, base, threads, times, adapters).figures(only))


@dataclass
class _Run:
    shape: str
    base: Path
    threads: int
    times: int
    adapters: Sequence[AdapterRef]

    async def figures(self, only: Sequence[str]) -> dict[str, Any]:
        figures: dict[str, Any] = {"shape": self.shape, "threads": self.threads}
        for name in only:
            figures[name] = await getattr(self, f"_{name}")()
            print(f"{name}: {json.dumps(figures[name])}", file=sys.stderr, flush=True)
        return figures

    async def _alone(self) -> dict[str, Any]:
        return await self._tokens(1)

    async def _batch(self) -> dict[str, Any]:
        return await self._tokens(8)

    async def _tokens(self, rows: int) -> dict[str, Any]:
        rune = Measured(self.base, self.threads)
        try:
            direct = Direct(self.base, self.threads)
            return await tokens(rune, direct, rows, 96 if self.shape == NANO else 32, self.times)
        finally:
            await rune.provider.close()

    async def _switch(self) -> dict[str, Any]:
        rune = Measured(self.base, self.threads, adapter_memory_bytes=ADAPTERS_BYTES)
        try:
            pairs = self.times * (16 if self.shape == NANO else 4)
            figures = await switching(rune, self.adapters[:4], pairs)
        finally:
            await rune.provider.close()
        direct = Direct(self.base, self.threads)
        reload = 1e3 * min(direct.reload_seconds(self.adapters[0]) for _ in range(2))
        extra = max(figures["extra_ms"], 0.01)
        return figures | {
            "reload_ms": round(reload, 1),
            "times_faster_than_reloading": round(reload / extra),
        }

    async def _retries(self) -> dict[str, Any]:
        # A task that nearly fills rune-nano's context; a smaller part of what larger models take.
        words, new = (310, 16) if self.shape == NANO else (1200, 32)
        times = max(2, self.times // 2)
        return await retries(self.base, self.threads, self.adapters[0], words, new, times)

    async def _fleet(self) -> dict[str, Any]:
        return await fleet(self.base, self.threads, self.adapters, max(2, self.times // 2))


def _ms(seconds: Sequence[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 3)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the figures where that is asked for."""
    parser = argparse.ArgumentParser(description="The Transformers back-end's figures.")
    parser.add_argument("--shape", choices=[NANO, *SHAPES], default=NANO)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    figures = measure(options.shape, options.threads, options.times, options.only)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
