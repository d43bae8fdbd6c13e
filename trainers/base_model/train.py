"""Train rune-nano from scratch on a CPU (or a GPU), with checkpoints.

    python -m trainers.base_model.train --out runs/nano --compile

First copying alone, which forms induction; then looking names up by their titles; then documents.
Stopped at any point, the same command goes on from the last checkpoint. The matrices are trained
with Muon, all else with AdamW.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from trainers.base_model.corpus import INDEX, LONG, SHORT, Corpus
from trainers.base_model.encoding import encode_document
from trainers.base_model.network import make_network
from trainers.base_model.progress import Progress
from trainers.base_model.recall import recall
from trainers.base_model.tokenizer import load_tokenizer, train_tokenizer
from trainers.precision import autocast
from trainers.tokens import IGNORED, Batch, Example, answer_tokens, collate, token_losses


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a run goes.

    Attributes:
        steps: of documents, after `copying` and `lookup` steps.
        indexes: documents in a step of looking up.
        short: documents of one question in a step.
        long_tokens: tokens of documents of many questions in a step.
        rate: the learning rate after the warm-up, until the last `decay` of the steps.
    """

    steps: int = 4_500
    copying: int = 700
    lookup: int = 600
    indexes: int = 8
    short: int = 24
    long_tokens: int = 4_096
    rate: float = 2e-3
    decay: float = 0.3
    warmup: int = 100
    seed: int = 0

    @property
    def total(self) -> int:
        return self.copying + self.lookup + self.steps

    def rate_at(self, step: int) -> float:
        """Warm-up, then constant, then linear to zero; `step` counts from the first copying."""
        left = (self.total - step) / (self.decay * self.steps)
        return self.rate * min(1.0, (step + 1) / self.warmup, left)


def _tokenizer(out: Path) -> PreTrainedTokenizerBase:
    if not (out / "tokenizer.json").exists():
        documents = itertools.islice(Corpus(0, {**SHORT, **LONG}), 6000)
        texts = (turn.content for document in documents for turn in document.turns)
        train_tokenizer(texts).save_pretrained(out)
    return load_tokenizer(out)


def _short_batches(
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    size: int,
    shares: Mapping[str, float] = SHORT,
    pool: int = 8,
) -> Iterator[Batch]:
    """Batches of similar lengths: `pool` batches are drawn, sorted and shuffled together."""
    stream = iter(Corpus(seed, shares))
    generator = torch.Generator().manual_seed(seed)
    while True:
        examples = [encode_document(tokenizer, d) for d in itertools.islice(stream, size * pool)]
        examples.sort(key=lambda example: len(example.ids))
        for index in torch.randperm(pool, generator=generator).tolist():
            yield collate(examples[index * size : (index + 1) * size], _pad(tokenizer))


def _long_batches(
    tokenizer: PreTrainedTokenizerBase, seed: int, tokens: int, pool: int = 32
) -> Iterator[Batch]:
    """Batches of similar lengths with about so many tokens each."""
    stream = iter(Corpus(seed, LONG))
    generator = torch.Generator().manual_seed(seed)
    while True:
        examples = [encode_document(tokenizer, d) for d in itertools.islice(stream, pool)]
        examples.sort(key=lambda example: len(example.ids))
        groups: list[list[Example]] = [[]]
        for example in examples:
            if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > tokens:
                groups.append([])
            groups[-1].append(example)
        for index in torch.randperm(len(groups), generator=generator).tolist():
            yield collate(groups[index], _pad(tokenizer))


def _copying_batches(vocabulary: int, seed: int, size: int) -> Iterator[Batch]:
    """Random tokens, then the same again; loss on the second time."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        length = int(torch.randint(4, 25, (1,), generator=generator))
        once = torch.randint(3, vocabulary, (size, length), generator=generator)
        ids = torch.cat([once, once], dim=1)
        labels = ids.clone()
        labels[:, : length + 1] = IGNORED
        yield Batch(ids, labels)


def _pad(tokenizer: PreTrainedTokenizerBase) -> int:
    pad: int = tokenizer.pad_token_id
    return pad


def optimizers(network: Qwen2ForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings, biases and norms."""
    matrices = [p for n, p in network.model.layers.named_parameters() if p.ndim == 2]
    taken = {id(p) for p in matrices}
    others = [p for p in network.parameters() if id(p) not in taken]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.05),
    ]


def _learn(
    network: Qwen2ForCausalLM, batches: Sequence[Batch], device: str
) -> tuple[list[float], int]:
    """Gradients of the mean loss over all the batches' targets; each one's own, and the tokens."""
    targets = sum(answer_tokens(batch) for batch in batches)
    losses = []
    for batch in batches:
        moved = Batch(batch.ids.to(device), batch.labels.to(device))
        with autocast(device):
            each = token_losses(network, moved)
        (each.sum() / targets).backward()  # type: ignore[no-untyped-call]
        losses.append(each.mean().item())
    return losses, sum(batch.ids.numel() for batch in batches)


def train(out: Path, recipe: Recipe, *, compiled: bool, save_every: int = 250) -> None:
    """Train to the end of the recipe, from the last checkpoint in `out` where there is one."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = _tokenizer(out)
    network = make_network(tokenizer).to(device)
    makers = optimizers(network, recipe.rate)
    progress = Progress(out, network, makers)
    start = progress.resume()
    network.train()
    if compiled:
        network.model.compile(dynamic=True)
    seed = recipe.seed + start
    copying = _copying_batches(len(tokenizer), seed, 24)
    indexes = _short_batches(tokenizer, seed, recipe.indexes, INDEX)
    short = _short_batches(tokenizer, seed, recipe.short)
    long = _long_batches(tokenizer, seed, recipe.long_tokens)
    began, tokens = time.monotonic(), 0
    for step in range(start, recipe.total):
        for optimizer in makers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(step)
        if step < recipe.copying:
            batches = [next(copying)]
        elif step < recipe.copying + recipe.lookup:
            batches = [next(indexes)]
        else:
            batches = [next(short), next(long)]
        losses, count = _learn(network, batches, device)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in makers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += count
        progress.add(losses)
        if (step + 1) % 25 == 0:
            speed = tokens / (time.monotonic() - began)
            print(
                f"step {step + 1}/{recipe.total} {progress.means()} {speed:.0f} tokens/s",
                flush=True,
            )
        if (step + 1) % save_every == 0 or step + 1 == recipe.total:
            progress.save(step + 1)
        if step >= recipe.copying and (step + 1) % (2 * save_every) == 0:
            print(f"step {step + 1} {json.dumps(recall(network, tokenizer))}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--rate", type=float, default=Recipe().rate)
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--compile", action="store_true", help="faster; wants a C++ compiler")
    options = parser.parse_args()
    recipe = Recipe(steps=options.steps, rate=options.rate, seed=options.seed)
    train(options.out, recipe, compiled=options.compile)


if __name__ == "__main__":
    main()
