"""Train rune-nano from scratch on a CPU (or a GPU), with checkpoints.

    python -m trainers.base_model.train --out runs/nano --compile

Stopped at any point, the same command goes on from the last checkpoint. Checkpoints are
safetensors and JSON; the optimiser's state is kept with them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from trainers.base_model.corpus import Corpus
from trainers.base_model.network import make_network
from trainers.base_model.tokenizer import load_tokenizer, train_tokenizer
from trainers.tokens import Batch, answer_loss, collate, encode


def _tokenizer(out: Path) -> PreTrainedTokenizerBase:
    if not (out / "tokenizer.json").exists():
        documents = itertools.islice(Corpus(seed=0), 4000)
        texts = (m["content"] for d in documents for m in [*d.messages, {"content": d.answer}])
        train_tokenizer(texts).save_pretrained(out)
    return load_tokenizer(out)


def _batches(
    tokenizer: PreTrainedTokenizerBase, seed: int, size: int, pool: int = 8
) -> Iterator[Batch]:
    """Batches of similar lengths: `pool` batches are drawn, sorted and shuffled together."""
    stream = iter(Corpus(seed))
    generator = torch.Generator().manual_seed(seed)
    while True:
        examples = [
            encode(tokenizer, d.messages, d.answer) for d in itertools.islice(stream, size * pool)
        ]
        examples.sort(key=lambda example: len(example.ids))
        for index in torch.randperm(pool, generator=generator).tolist():
            yield collate(examples[index * size : (index + 1) * size], tokenizer.pad_token_id)


def _rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, then a cosine to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _save(
    out: Path, network: Qwen2ForCausalLM, optimizer: torch.optim.Optimizer, step: int
) -> None:
    state = {
        f"{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    save_file(state, out / "optimizer.safetensors.new")
    network.save_pretrained(out)
    (out / "optimizer.safetensors.new").replace(out / "optimizer.safetensors")
    (out / "progress.json").write_text(json.dumps({"step": step}), encoding="utf-8")


def _resume(out: Path, network: Qwen2ForCausalLM, optimizer: torch.optim.Optimizer) -> int:
    progress = out / "progress.json"
    if not progress.exists():
        return 0
    network.load_state_dict(load_file(out / "model.safetensors"), strict=False)
    network.tie_weights()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(out / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return int(json.loads(progress.read_text(encoding="utf-8"))["step"])


def train(out: Path, steps: int, batch_size: int, peak: float, seed: int, compiled: bool) -> None:
    """Train until `steps`, saving every 250 steps into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = _tokenizer(out)
    network = make_network(tokenizer)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05
    )
    start = _resume(out, network, optimizer)
    network.to(device).train()
    if compiled:
        network.model.compile(dynamic=True)
    batches = _batches(tokenizer, seed + start, batch_size)
    mean, tokens, began = 0.0, 0, time.monotonic()
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, steps, peak)
        batch = next(batches)
        batch = Batch(batch.ids.to(device), batch.labels.to(device))
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = answer_loss(network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        mean = loss.item() if step == start else 0.98 * mean + 0.02 * loss.item()
        tokens += batch.ids.numel()
        if (step + 1) % 25 == 0:
            speed = tokens / (time.monotonic() - began)
            print(f"step {step + 1}/{steps} loss {mean:.4f} {speed:.0f} tokens/s", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            _save(out, network, optimizer, step + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="faster; wants a C++ compiler")
    options = parser.parse_args()
    train(options.out, options.steps, options.batch, options.rate, options.seed, options.compile)


if __name__ == "__main__":
    main()
