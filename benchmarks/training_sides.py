"""One side of the training benchmark, in a process of its own.

    python -m benchmarks.training_sides PLAN.json

Trains an adapter as the plan says, leaves it in PEFT's format and prints its figures as JSON. All
sides get the same tokens, optimizer (AdamW, five steps of warm-up, then constant), clipping, rank,
number of steps, examples a step, seed and threads. Only training is timed: no import, no loading.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.training_data import read_examples
from rune_engine.models import AdapterMethod
from trainers import dataset, lora
from trainers.fitting import Fitting
from trainers.protocol import peak_memory_bytes
from trainers.running import Cut, runner_for
from trainers.settings import DirectSettings

WARM_UP = 5


@dataclass(frozen=True)
class Plan:
    """What a side is told; `flags` are those of its own."""

    side: str
    model: str
    data: str
    out: str
    steps: int
    batch_size: int
    rank: int
    learning_rate: float
    modules: list[str]
    seed: int
    threads: int
    method: AdapterMethod
    flags: dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """How it went; seconds are those of training alone."""

    cpu_seconds: float
    wall_seconds: float
    base_memory_bytes: int
    peak_memory_bytes: int


Train = Callable[[], None]


def rune(plan: Plan) -> tuple[Any, Train]:
    """Ours, as `trainers.direct` calls it."""
    settings = DirectSettings(
        rank=plan.rank,
        alpha=2 * plan.rank,
        target_modules=plan.modules,
        learning_rate=plan.learning_rate,
        batch_size=plan.batch_size,
        max_steps=plan.steps,
        rehearsal=0,
    )
    base = lora.load_base(plan.model, "cpu", plan.method)
    model = lora.add_adapter(base, settings, plan.seed, plan.method)
    data = dataset.Split(read_examples(plan.data), [])
    runner = runner_for(model, 0, "cpu", Cut(**plan.flags))
    fitting = Fitting(model, runner, data, settings, plan.seed)

    def train() -> None:
        fitting.run(lambda done, text: None, lambda: None)

    return model, train


def _peers(plan: Plan) -> tuple[Any, Any, dict[str, Any]]:
    """What the peers' trainers share: a model, the data set, and arguments."""
    from datasets import Dataset

    flags = dict(plan.flags)
    dtype = torch.bfloat16 if flags.pop("bf16_weights", False) else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        plan.model, dtype=dtype, attn_implementation="sdpa"
    )
    torch.manual_seed(plan.seed)
    config = LoraConfig(
        r=plan.rank,
        lora_alpha=2 * plan.rank,
        target_modules=plan.modules,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    rows = [{"input_ids": e.ids, "labels": e.labels} for e in read_examples(plan.data)]
    arguments = {
        "output_dir": plan.out + ".work",
        "per_device_train_batch_size": plan.batch_size,
        "max_steps": plan.steps,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": WARM_UP,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "seed": plan.seed,
        "bf16": True,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **flags,
    }
    return model, Dataset.from_list(rows), arguments


def trl(plan: Plan) -> tuple[Any, Train]:
    """TRL's SFTTrainer; its loss is chunked and computed on the labelled positions alone."""
    from trl import SFTConfig, SFTTrainer

    model, rows, arguments = _peers(plan)
    tokenizer = AutoTokenizer.from_pretrained(plan.model)
    arguments = {"max_length": 2048, **arguments}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    return trainer.model, trainer.train


def hf(plan: Plan) -> tuple[Any, Train]:
    """Transformers' own Trainer with the collator that pads labels."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    model, rows, arguments = _peers(plan)
    collator = DataCollatorForSeq2Seq(
        AutoTokenizer.from_pretrained(plan.model),
        pad_to_multiple_of=arguments.pop("pad_to_multiple_of", None),
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=rows,
        data_collator=collator,
    )
    return model, trainer.train


SIDES: dict[str, Callable[[Plan], tuple[Any, Train]]] = {"rune": rune, "trl": trl, "hf": hf}


def measure(plan: Plan) -> Figures:
    torch.set_num_threads(plan.threads)
    model, train = SIDES[plan.side](plan)
    before = peak_memory_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    train()
    figures = Figures(
        time.process_time() - cpu, time.perf_counter() - wall, before, peak_memory_bytes()
    )
    model.save_pretrained(plan.out)
    return figures


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(json.dumps(asdict(measure(plan))), flush=True)


if __name__ == "__main__":
    main()
