"""The llama.cpp back-end beside llama-cpp-python itself: switching, tokens, retries, a fleet.

    python -m benchmarks.serving.llama --shape rune-nano --json llama.json
    python -m benchmarks.serving.llama --shape qwen2.5-coder-0.5b

Both sides of each comparison take turns in one run, on the same file, with the same threads. What
llama-cpp-python does is measured in this process: its `Llama` class for one request at a time, and
for batches its C interface, fed by the same arrays that Rune uses. Rune is measured through its
provider, worker process and pipes included, where tokens per second are compared; where a
millisecond counts, the worker's model is called in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_cpp import Llama

from benchmarks.serving.random_models import NANO, SHAPES, make_adapter, make_base
from benchmarks.serving.side import BUDGET_FOR, FLEET, WORDS, Side, compared
from rune_engine.config import ServingSettings
from rune_engine.gguf.checks import check_base
from rune_engine.inference.llama import LlamaProvider
from rune_engine.inference.llama_model import MAX_LANES, LlamaModel, LlamaSettings
from rune_engine.inference.llama_native import BATCH_TOKENS, NativeContext, NativeModel, Piece
from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest

CONTEXT = 1024


class Bench:
    """A base model's file and adapters, and the four ways to run them.

    Args:
        quick: a tenth of the repetitions, to see that it runs.
    """

    def __init__(self, shape: str, threads: int, folder: Path, *, quick: bool) -> None:
        self.threads = threads
        self.large = shape != NANO
        self.repeats = 3 if quick else 12 if self.large else 60
        self.folder = folder
        self.base = make_base(shape, folder / "base")
        self.adapters = [make_adapter(self.base, folder / f"a{n}", n) for n in range(MAX_LANES + 2)]
        self.chance = random.Random(0)
        self.model = LlamaModel(self.base, self._settings())
        self.file = next((folder / "cache" / "base").glob("*.gguf"))
        self.text = self.model._text

    def _settings(self) -> LlamaSettings:
        return LlamaSettings(
            base_model_id=self.base.name,
            cache=self.folder / "cache",
            threads=self.threads,
            context=CONTEXT,
            adapter_memory_bytes=1024**3,
            precision=None,
        )

    def provider(self, **serving: Any) -> LlamaProvider:
        settings = ServingSettings(context=CONTEXT, **serving)
        cache = self.folder / "cache"
        return LlamaProvider(
            self.base.name, self.base, cache, self.threads, 3600.0, serving=settings
        )

    def words(self, count: int) -> str:
        return " ".join(self.chance.choices(WORDS, k=count))

    def complete(
        self, prompt: str, tokens: int, adapter: AdapterRef | None = None, *, fresh: bool = False
    ) -> Generation:
        """One request by the worker's model, in this process."""
        if fresh:
            self.model.abandon()
        request = GenerationRequest(prompt=prompt, max_tokens=tokens)
        row = self.model.row(request, adapter, lambda: False, None)
        self.model.admit(row)
        while not self.model.step():
            pass
        return row.generation()


def switching(bench: Bench) -> dict[str, float]:
    """The first token of a prompt that nobody knows, with the adapter of before and with another.

    What a switch adds does not depend on the prompt: it shows best with a prompt of one word.
    `put_on` is between more adapters than have a context of their own.
    """
    repeats = bench.repeats * (2 if bench.large else 5)
    one, other_one = _first_tokens(bench, 1, repeats, bench.adapters[:2])
    _, put_on = _first_tokens(bench, 1, repeats, bench.adapters)
    stayed, switched = _first_tokens(bench, 100, bench.repeats, bench.adapters[:2])
    reloaded = Side()  # as llama-cpp-python changes adapters: by a new Llama
    for adapter in list((bench.folder / "cache" / "adapters").glob("*.gguf"))[:2] * 3:
        with reloaded.timed():
            llama = _direct(bench, lora_path=str(adapter))
        llama.close()
    extra = statistics.median(other_one.wall) - statistics.median(one.wall)
    pairs = zip(switched.wall, stayed.wall, strict=True)
    return {
        "switch_extra_ms": extra * 1e3,
        "switch_extra_cpu_ms": _median_gap(other_one.cpu, one.cpu) * 1e3,
        "put_on_extra_ms": _median_gap(put_on.wall, one.wall) * 1e3,
        "put_on_extra_cpu_ms": _median_gap(put_on.cpu, one.cpu) * 1e3,
        "first_token_stayed_ms": statistics.median(stayed.wall) * 1e3,
        "first_token_switched_ms": statistics.median(switched.wall) * 1e3,
        "switched_over_stayed": statistics.median(after / before for after, before in pairs),
        "switched_over_stayed_cpu": statistics.median(switched.cpu) / statistics.median(stayed.cpu),
        "reload_ms": statistics.median(reloaded.wall) * 1e3,
        "reload_cpu_ms": statistics.median(reloaded.cpu) * 1e3,
        "reload_over_switch": statistics.median(reloaded.wall) / max(extra, 1e-5),
    }


def _median_gap(after: Sequence[float], before: Sequence[float]) -> float:
    return statistics.median(after) - statistics.median(before)


def _first_tokens(
    bench: Bench, words: int, repeats: int, adapters: Sequence[AdapterRef]
) -> tuple[Side, Side]:
    """First tokens of prompts of so many words: without a switch, and after one to the next."""
    stayed, switched = Side(), Side()
    for adapter in (*adapters, adapters[0]):
        bench.complete(bench.words(words), 1, adapter)
    for turn in range(repeats):
        bench.model.abandon()
        prompt = bench.words(words)
        with stayed.timed():
            bench.complete(prompt, 1, adapters[turn % len(adapters)])
        with switched.timed():
            bench.complete(prompt, 1, adapters[(turn + 1) % len(adapters)])
    return stayed, switched


def _direct(bench: Bench, **settings: Any) -> Llama:
    return Llama(
        str(bench.file),
        n_ctx=CONTEXT,
        n_threads=bench.threads,
        n_threads_batch=bench.threads,
        n_batch=BATCH_TOKENS,
        verbose=False,
        **settings,
    )


async def one_at_a_time(bench: Bench) -> dict[str, Any]:
    """Tokens per second of single requests, through the provider and by `Llama`."""
    rune, direct = Side(), Side()
    provider, llama = bench.provider(), _direct(bench)
    tokens = 24 if bench.large else 64
    try:
        await provider.generate([GenerationRequest(prompt="a", max_tokens=1)])
        workers = provider.status().worker_pids

        async def by_rune(request: GenerationRequest) -> None:
            with rune.timed(workers):
                [answer] = await provider.generate([request])
            rune.tokens += answer.completion_tokens

        async def by_llama(request: GenerationRequest) -> None:
            with direct.timed():
                ids = bench.text.tokens(request)
                said = llama.create_completion(ids, max_tokens=tokens, temperature=0.0)
            direct.tokens += said["usage"]["completion_tokens"]  # type: ignore[index]

        for turn in range(4 if bench.large else bench.repeats):
            request = GenerationRequest(prompt=bench.words(24), max_tokens=tokens)
            for ask in (by_rune, by_llama)[:: 1 if turn % 2 else -1]:
                await ask(request)
    finally:
        await provider.close()
        llama.close()
    return compared(rune, direct)


async def batches(bench: Bench) -> dict[str, Any]:
    """Tokens per second of eight requests at once, through the provider and by the C interface."""
    rune, direct = Side(), Side()
    provider, bare = bench.provider(), BareBatch(bench, 8)
    tokens = 12 if bench.large else 64
    try:
        await provider.generate([GenerationRequest(prompt="a", max_tokens=1)])
        workers = provider.status().worker_pids
        for _ in range(max(2, bench.repeats // 6)):
            prompts = [bench.words(24) for _ in range(8)]
            requests = [GenerationRequest(prompt=p, max_tokens=tokens) for p in prompts]
            with rune.timed(workers):
                answers = await provider.generate(requests)
            rune.tokens += sum(answer.completion_tokens for answer in answers)
            ids = [bench.text.tokens(request) for request in requests]
            with direct.timed():
                direct.tokens += bare.run(ids, tokens)
    finally:
        await provider.close()
    return compared(rune, direct)


class BareBatch:
    """Greedy decoding of several prompts at once by `llama_decode`, and nothing else."""

    def __init__(self, bench: Bench, sequences: int) -> None:
        check_base(bench.file)
        self._model = NativeModel(bench.file)
        self._ends = bench.text.stop_ids
        self._context = NativeContext(
            self._model, context=CONTEXT, sequences=sequences, threads=bench.threads
        )

    def run(self, prompts: Sequence[list[int]], tokens: int) -> int:
        """How many tokens were made."""
        self._context.clear()
        pieces = [Piece(n, 0, prompt, True) for n, prompt in enumerate(prompts)]
        made, going = 0, [len(prompt) for prompt in prompts]
        for _ in range(tokens):
            best = [int(logits.argmax()) for logits in self._context.decode(pieces)]
            made += len(best)
            after = []
            for piece, token in zip(pieces, best, strict=True):
                if token not in self._ends:
                    after.append(Piece(piece.sequence, going[piece.sequence], [token], True))
                    going[piece.sequence] += 1
            if not after:
                break
            pieces = after
        return made


def retries(bench: Bench) -> dict[str, Any]:
    """A task tried five times, each try's prompt the last one with its answer and what failed."""
    kept, fresh = Side(), Side()
    for _ in range(max(1, bench.repeats // 12)):
        start = bench.words(150)
        for side in (kept, fresh):
            prompt = start
            for attempt in range(5):
                with side.timed():
                    answer = bench.complete(
                        prompt, 24, bench.adapters[0], fresh=side is fresh or attempt == 0
                    )
                side.tokens += answer.completion_tokens
                prompt += answer.text + "\n" + bench.words(16)
    return {
        "with_reuse": kept.told(),
        "without": fresh.told(),
        "speed_up": sum(fresh.wall) / sum(kept.wall) * kept.tokens / fresh.tokens,
        "speed_up_cpu": sum(fresh.cpu) / sum(kept.cpu) * kept.tokens / fresh.tokens,
    }


async def fleet(bench: Bench) -> dict[str, Any]:
    """Two hundred adapters in Zipf order with memory for 25, beside 25 with the same memory."""
    refs = [make_adapter(bench.base, bench.folder / f"f{n}", 100 + n) for n in range(FLEET)]
    request = GenerationRequest(prompt="sort the rows by key", max_tokens=24)
    first = await _first_answers(bench, refs, request)
    size = max(f.stat().st_size for f in (bench.folder / "cache" / "adapters").glob("*.gguf"))
    providers = [bench.provider(adapter_memory_bytes=BUDGET_FOR * size) for _ in range(2)]
    many, few = Side(), Side()
    wrong = 0
    try:
        for _ in range(max(4, bench.repeats // 2)):
            for side, count, provider in (
                (many, FLEET, providers[0]),
                (few, BUDGET_FOR, providers[1]),
            ):
                weights = [1 / rank for rank in range(1, count + 1)]
                chosen = bench.chance.choices(refs[:count], weights, k=10)
                await provider.generate([request], adapter=chosen[0])
                workers = provider.status().worker_pids
                with side.timed(workers):
                    for ref in chosen:
                        [answer] = await provider.generate([request], adapter=ref)
                        wrong += answer.text != first[ref.id]
                        side.tokens += answer.completion_tokens
    finally:
        for provider in providers:
            await provider.close()
    told = compared(many, few)
    return {"adapters_200": told["rune"], "adapters_25": told["direct"]} | {
        "ratio": told["ratio"],
        "ratio_cpu": told["ratio_cpu"],
        "answers": len(many.wall + few.wall) * 10,
        "wrong_answers": wrong,
        "distinct_answers": len(set(first.values())),
    }


async def _first_answers(
    bench: Bench, refs: Sequence[AdapterRef], request: GenerationRequest
) -> dict[str, str]:
    """What each adapter says where all of them are kept loaded."""
    provider = bench.provider(adapter_memory_bytes=2**40)
    try:
        return {ref.id: (await provider.generate([request], adapter=ref))[0].text for ref in refs}
    finally:
        await provider.close()


def measure(
    shape: str = NANO,
    threads: int = 1,
    *,
    quick: bool = False,
    parts: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Every figure of one shape; of the large one all but the fleet.

    Args:
        shape: rune-nano, or one of `random_models.SHAPES`.
        parts: names of `PARTS`; all that suit the shape by default.
    """
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(shape, threads, Path(name), quick=quick)
        wanted = parts or [part for part in PARTS if not (bench.large and part == "fleet")]
        results: dict[str, Any] = {"shape": shape, "threads": threads}
        for part in wanted:
            made = PARTS[part](bench)
            results[part] = asyncio.run(made) if asyncio.iscoroutine(made) else made
    return results


PARTS: dict[str, Callable[[Bench], Any]] = {
    "switching": switching,
    "one_at_a_time": one_at_a_time,
    "batches": batches,
    "retries": retries,
    "fleet": fleet,
}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=[NANO, *SHAPES], default=NANO)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=None)
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    figures = measure(options.shape, options.threads, quick=options.quick, parts=options.parts)
    text = json.dumps(figures, indent=2)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
