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
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.training_data import read_examples, target_tokens
from rune_engine.models import AdapterMethod
from trainers import dataset, lora
from trainers.fitting import Fitting
from trainers.protocol import peak_memory_bytes
from trainers.running import Cut, runner_for
from trainers.settings import DirectSettings
from trainers.tokens import IGNORED, Example

WARM_UP = 5


@dataclass(frozen=True)
class Plan:
    """What a side is told; `flags` are those of its own."""

    side: str
    model: str
    data: str
    held_out: str
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
    """How it went; seconds are those of training alone, target tokens those of all steps."""

    target_tokens: float
    cpu_seconds: float
    wall_seconds: float
    base_memory_bytes: int
    peak_memory_bytes: int


Train = Callable[[], None]
Side = tuple[Any, float, Train]
"""A model, how many target tokens a step has in the mean, and what trains the model."""


def rune(plan: Plan) -> Side:
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

    return model, _a_step(data.training, plan.batch_size), train


def _optimizers(model: Any, plan: Plan) -> tuple[Any, Any]:
    """Fused AdamW with the rates that ours has: Transformers' own warm-up begins at zero."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / WARM_UP))
    return optimizer, rate


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
        "max_grad_norm": 1.0,
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


def trl(plan: Plan) -> Side:
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
        optimizers=_optimizers(model, plan),
    )
    # A packed row holds several examples, and a step as many rows as it is told.
    step = int(arguments["per_device_train_batch_size"])
    given = [Example(row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    return trainer.model, _a_step(given, step), trainer.train


def hf(plan: Plan) -> Side:
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
        optimizers=_optimizers(model, plan),
    )
    return model, _a_step(read_examples(plan.data), plan.batch_size), trainer.train


@torch.no_grad()
def evaluate(plan: Plan) -> dict[str, float]:
    """The adapter's mean loss on both sets, by Transformers and PEFT alone, whoever made it."""
    dtype = torch.float32 if plan.flags["exact"] else torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(plan.model, dtype=dtype)
    model = PeftModel.from_pretrained(base, plan.out).eval()
    return {
        name: _mean_loss(model, read_examples(file)[: plan.flags["examples"]])
        for name, file in (("training_loss", plan.data), ("held_out_loss", plan.held_out))
    }


def _mean_loss(model: Any, examples: list[Example]) -> float:
    total, count = 0.0, 0
    for example in examples:
        labels = torch.tensor(example.labels[1:])
        wanted = labels != IGNORED
        logits = model(input_ids=torch.tensor([example.ids])).logits[0, :-1][wanted].float()
        total += float(torch.nn.functional.cross_entropy(logits, labels[wanted], reduction="sum"))
        count += int(wanted.sum())
    return total / count


SIDES: dict[str, Callable[[Plan], Side]] = {"rune": rune, "trl": trl, "hf": hf}


def _a_step(examples: list[Example], size: int) -> float:
    return target_tokens(examples) / len(examples) * size


def measure(plan: Plan) -> Figures:
    model, targets, train = SIDES[plan.side](plan)
    before = peak_memory_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    train()
    figures = Figures(
        targets * plan.steps,
        time.process_time() - cpu,
        time.perf_counter() - wall,
        before,
        peak_memory_bytes(),
    )
    model.save_pretrained(plan.out)
    return figures


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(plan.threads)
    found = evaluate(plan) if plan.side == "evaluate" else asdict(measure(plan))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
