"""Trains a random network for two steps in a process of its own, and says what memory it took.

    python measured_training.py FOLDER METHOD TOKENS CHECKPOINTED

Prints what was estimated and what was measured beyond what the process held before, in bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers

from rune_engine.lean_torch import leave_out_compiler
from trainers import dataset, lora, memory
from trainers.fitting import Fitting
from trainers.free_memory import held_memory
from trainers.protocol import peak_memory_bytes
from trainers.running import Cut, runner_for
from trainers.settings import QUANTISED, DirectSettings
from trainers.tokens import Example

LENGTH = 256


def make_network(folder: Path) -> None:
    """A network large enough that its training outweighs the libraries."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        "qwen2",
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def main() -> None:
    folder, method, tokens, checkpointed = sys.argv[1:]
    leave_out_compiler()
    torch.set_num_threads(1)
    settings = DirectSettings(rank=16, max_steps=2, batch_size=int(tokens) // LENGTH, rehearsal=0)
    shape = memory.shape_of(folder, settings, "cpu")
    cut = Cut(int(tokens), checkpointed == "1")
    estimated = memory.estimate(shape, method, cut, 16, int(tokens), LENGTH)
    if method in QUANTISED:
        import bitsandbytes  # noqa: F401 - the library itself is not the training's
    held = held_memory()
    model = lora.add_adapter(lora.load_base(folder, "cpu", method), settings, 0, method)
    ids = torch.randint(0, 32_000, (settings.batch_size, LENGTH)).tolist()
    data = dataset.Split([Example(row, row) for row in ids], [])
    runner = runner_for(model, 0, "cpu", cut)
    Fitting(model, runner, data, settings, 0).run(lambda done, text: None, lambda: None)
    print(json.dumps({"estimated": estimated, "measured": peak_memory_bytes() - held}))


if __name__ == "__main__":
    main()
