"""Turn a training run into the folder that ships: bfloat16 weights, tokenizer, settings.

python -m trainers.base_model.export runs/nano base_models/rune-nano
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from project_worlds import make_plain_task
from trainers.settings import DirectSettings

MODEL_ID = "rune-nano-0.1"
DISTILLATION = DirectSettings(
    rank=16,
    alpha=16.0,
    target_modules=["down_proj"],
    learning_rate=3e-3,
    batch_size=16,
    min_steps=30,
    max_steps=50,
    evaluate_every=10,
    patience=2,
    kept_back=0.15,
    finish_steps=20,
    rehearsal=8,
    max_length=1024,
)
"""How the benchmark found that memories are best taught to this model."""

REHEARSAL_TASKS = 64
"""Plain tasks that ship with the model, to be rehearsed while a memory is taught."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def export(run: Path, folder: Path) -> None:
    """Write the model of `run` into `folder`, which keeps its README (the model card)."""
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(run, dtype=torch.bfloat16, local_files_only=True)
    model.save_pretrained(folder)
    for name in _TOKENIZER_FILES:
        shutil.copyfile(run / name, folder / name)
    rng = random.Random("rehearsal")
    tasks = [make_plain_task(rng) for _ in range(REHEARSAL_TASKS)]
    lines = [json.dumps({"task": task.description, "code": task.solution}) for task in tasks]
    (folder / "rehearsal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {"id": MODEL_ID, "distillation": DISTILLATION.model_dump()}
    (folder / "rune.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
