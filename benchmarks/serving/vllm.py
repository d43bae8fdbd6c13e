"""Tokens per second through Rune's vLLM provider, next to the same server asked over bare HTTP.

    python -m benchmarks.serving.vllm --python VLLM_PYTHON --json vllm.json

Both sides ask one server, in turn, in random order, for greedy answers to the same prompts, so that
the ratio holds on any machine. The bare side is an httpx client that posts the rendered
prompt and reads the answer. Promised: at least 0.95 of its tokens per second. CPU seconds are of
this process: what Rune adds on the client's side.

Three kinds of requests: `base`, `adapter`, and `mixed`, of which every other one is of the base.
Where these meet on a processor, an adapter of zeros has to stand for the base, or its answers are
wrong (see rune_engine/inference/vllm/mixing.py); the bare side does so as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

import base_models
from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.inference.vllm.base_shapes import module_shapes
from rune_engine.inference.vllm.command import ServerSettings
from rune_engine.inference.vllm.launch import ServerProcess
from rune_engine.inference.vllm.mixing import make_zeros
from rune_engine.inference.vllm.provider import VllmProvider

MODEL = base_models.shipped()[0]
CONCURRENCY = (1, 8)
ROUNDS = 48
TOKENS = 64
WAIT_SECONDS = 600.0
LISTED, ZEROS = "bench", "zeros"

Ask = Callable[[list[str]], Awaitable[int]]


def measure(
    python: str,
    *,
    model: str = MODEL,
    rounds: int = ROUNDS,
    concurrency: tuple[int, ...] = CONCURRENCY,
    tokens: int = TOKENS,
) -> dict[str, Any]:
    """Start a server, ask it both ways, and end it.

    Args:
        python: one with vLLM installed.
        rounds: measurements of each side, per kind of request and number at once.
        tokens: of each answer, at most.
    """
    found = base_models.describe(model)
    with (
        tempfile.TemporaryDirectory(prefix="rune-bench-") as name,
        _served(found, python, name) as url,
    ):
        adapter = make_adapter(found.path, found.id, Path(name) / LISTED)
        make_zeros(Path(name) / ZEROS, found.id, module_shapes(found.path))
        return asyncio.run(_measure(url, found, adapter, Path(name), (rounds, concurrency, tokens)))


@contextlib.contextmanager
def _served(found: base_models.BaseModelFolder, python: str, folder: str) -> Iterator[str]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    settings = ServerSettings(python, found.id, found.path, 18741, max_rank=8)
    with ServerProcess(settings, Path(folder) / "vllm.log") as server:
        server.wait_until_healthy(WAIT_SECONDS)
        yield settings.url


def make_adapter(base: Path, base_model_id: str, folder: Path) -> AdapterRef:
    """A random adapter of rank 8 on every projection."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    model.save_pretrained(folder)
    weights = (folder / "adapter_model.safetensors").read_bytes()
    return AdapterRef("bench", folder, hashlib.sha256(weights).hexdigest(), base_model_id)


async def _measure(
    url: str,
    found: base_models.BaseModelFolder,
    adapter: AdapterRef,
    folder: Path,
    size: tuple[int, tuple[int, ...], int],
) -> dict[str, Any]:
    rounds, concurrency, tokens = size
    provider = VllmProvider(found.id, found.path, url, staging=folder / "staging")
    figures: dict[str, Any] = {"model": found.id, "rounds": rounds, "tokens": tokens}
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=600) as client:
        for listed in (LISTED, ZEROS):
            body = {"lora_name": listed, "lora_path": str(adapter.path.with_name(listed))}
            (await client.post("/v1/load_lora_adapter", json=body)).raise_for_status()
        kinds: dict[str, list[AdapterRef | None]] = {
            "base": [None],
            "adapter": [adapter],
            "mixed": [None, adapter],
        }
        for kind, used in kinds.items():
            base = ZEROS if kind == "mixed" else found.id
            names = [LISTED if one else base for one in used]
            sides = {
                "rune": _through_rune(provider, used, tokens),
                "direct": _direct(client, names, tokens),
            }
            for at_once in concurrency:
                if at_once >= len(used):
                    figures[f"{kind}_{at_once}"] = await _interleaved(sides, rounds, at_once)
    await provider.close()
    return figures


def _through_rune(provider: VllmProvider, used: list[AdapterRef | None], tokens: int) -> Ask:
    async def some(prompts: list[str], adapter: AdapterRef | None) -> int:
        requests = [GenerationRequest(prompt=prompt, max_tokens=tokens) for prompt in prompts]
        answers = await provider.generate(requests, adapter=adapter)
        return sum(answer.completion_tokens for answer in answers)

    async def ask(prompts: list[str]) -> int:
        shares = [prompts[n :: len(used)] for n in range(len(used))]
        calls = (some(share, adapter) for share, adapter in zip(shares, used, strict=True))
        return sum(await asyncio.gather(*calls))

    return ask


def _direct(client: httpx.AsyncClient, names: list[str], tokens: int) -> Ask:
    async def one(prompt: str, name: str) -> int:
        body = {"model": name, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        reply = await client.post("/v1/completions", json=body)
        counted: int = reply.json()["usage"]["completion_tokens"]
        return counted

    async def ask(prompts: list[str]) -> int:
        calls = (one(prompt, names[n % len(names)]) for n, prompt in enumerate(prompts))
        return sum(await asyncio.gather(*calls))

    return ask


async def _interleaved(sides: dict[str, Ask], rounds: int, at_once: int) -> dict[str, Any]:
    """Every side once a round, in random order; the first two rounds warm up."""
    rng = random.Random(at_once)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    cpu = dict.fromkeys(sides, 0.0)
    for number in range(rounds + 2):
        prompts = [f"# {number} {n}\ndef add(a, b):\n" for n in range(at_once)]
        for name in rng.sample(sorted(sides), len(sides)):
            started, worked = time.perf_counter(), time.process_time()
            tokens = await sides[name](prompts)
            if number >= 2:
                rates[name].append(tokens / (time.perf_counter() - started))
                cpu[name] += time.process_time() - worked
    return _compared(rates, cpu, rounds * at_once)


def _compared(
    rates: dict[str, list[float]], cpu: dict[str, float], requests: int
) -> dict[str, Any]:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        **{f"{name}_tokens_per_second": round(value, 1) for name, value in medians.items()},
        **{f"{name}_cpu_ms_a_request": round(1e3 * cpu[name] / requests, 3) for name in cpu},
        "ratio": round(medians["rune"] / medians["direct"], 3),
        "ratio_of_best": round(max(rates["rune"]) / max(rates["direct"]), 3),
    }


def main() -> None:
    """Print the figures, and keep them where told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=os.environ.get("RUNE_VLLM_PYTHON"), required=False)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.python:
        parser.error("--python names a Python that has vLLM")
    figures = measure(options.python, model=options.model, rounds=options.rounds)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
