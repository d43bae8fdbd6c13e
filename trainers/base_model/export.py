"""Turn a training run into the folder that ships: weights, tokenizer, settings, statistics.

python -m trainers.base_model.export runs/nano base_models/rune-nano
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from project_worlds import make_plain_task
from trainers.base_model.corpus import ABILITIES, Corpus
from trainers.base_model.encoding import encode_document
from trainers.closed_form import base_files, known
from trainers.closed_form.evidence import Reader
from trainers.closed_form.settings import ClosedFormSettings
from trainers.settings import DirectSettings

MODEL_ID = "rune-nano-1.0"
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

CLOSED_FORM = ClosedFormSettings(ridges=[60.0], strengths=[40.0], folds=1)
"""With more strength tasks with documentation lose, with less new ones: see docs/training.md."""

REHEARSAL_TASKS = 64
"""Plain tasks that ship with the model, to be rehearsed while a memory is taught."""

KNOWN_DOCUMENTS = 1500
_KNOWN_SEED = 4242
"""Of the documents that say what the model can do."""

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
    settings = {
        "id": MODEL_ID,
        "distillation": DISTILLATION.model_dump(),
        "closed_form": CLOSED_FORM.model_dump(),
    }
    (folder / "rune.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    write_known(folder)


def write_known(folder: Path) -> None:
    """Leave statistics of what the model in `folder` knows beside it: see `closed_form.known`."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    documents = itertools.islice(Corpus(_KNOWN_SEED, ABILITIES), KNOWN_DOCUMENTS)
    asked = [encode_document(tokenizer, document) for document in documents]
    found = known.compute(Reader.load(folder, "cpu", torch.float32), asked)
    known.keep(folder / known.SHIPPED, base_files.identity(folder), found)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
