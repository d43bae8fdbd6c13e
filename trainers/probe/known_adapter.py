"""An adapter that is taught one answer on the spot, and what PEFT says with it and without.

Says nothing of how it is taught: see `lessons`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rune_engine.errors import BaseModelNotFoundError, DeviceMemoryError
from rune_engine.models.probing import Check, KnownAdapter, KnownAnswer, ProbeJob
from trainers import lora
from trainers.free_memory import free_memory
from trainers.probe import device
from trainers.probe.lessons import Lessons
from trainers.settings import ALL_LINEAR, DirectSettings

FILE = "known.json"
QUESTION = "Which words does the doctor expect?"
RANK = 8

_TOKENS = 24
_WORKING_BYTES = 1024**3


def known_adapter(job: ProbeJob) -> Check:
    """Make it in `job.output_path`, with `known.json` beside it.

    Raises:
        BaseModelNotFoundError: the base model is no folder that Transformers loads.
        DeviceMemoryError: there is no room for it.
        TrainingError: it could not be taught.
    """
    folder, model_path = Path(job.output_path) / "adapter", require_folder(job)
    on, dtype = device.device(), roomy_precision(model_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
    base: Any = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=dtype, local_files_only=True, use_safetensors=True
    )
    model: Any = lora.add_adapter(base.requires_grad_(False).to(on), _settings(base), job.seed)
    lessons = Lessons(model, tokenizer, QUESTION, job.seed)
    without = _answer(model, tokenizer, lessons.prompt)
    taught = lessons.teach()
    adapted = _answer(model, tokenizer, lessons.prompt)
    lora.save_adapter(model, folder, job.base_model_id)
    known = KnownAdapter(
        question=QUESTION,
        taught=taught.answer,
        path=str(folder),
        sha256=hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest(),
        base_model_id=job.base_model_id,
        precision="float32" if dtype == torch.float32 else "bfloat16",
        base=without,
        adapted=adapted,
    )
    (Path(job.output_path) / FILE).write_text(known.model_dump_json(), encoding="utf-8")
    return Check(
        name="known adapter", status="good", detail=f"taught in {taught.steps} steps on {on}"
    )


def require_folder(job: ProbeJob) -> Path:
    """The base model's folder.

    Raises:
        BaseModelNotFoundError: there is none.
    """
    if job.base_model_path is None:
        raise BaseModelNotFoundError(
            f"{job.base_model_id!r} is not here as a folder that Transformers loads.",
            next_step="Set RUNE_BASE_MODEL to one.",
        )
    return Path(job.base_model_path)


def parameters(model_path: Path) -> int:
    """How many the model has; its weights are not read."""
    config = AutoConfig.from_pretrained(model_path, local_files_only=True)
    with torch.device("meta"):
        return int(AutoModelForCausalLM.from_config(config).num_parameters())


def roomy_precision(model_path: Path) -> torch.dtype:
    """float32 where the model fits in it.

    Raises:
        DeviceMemoryError: it does not even fit in bfloat16.
    """
    count, free = parameters(model_path), free_memory(device.device())
    for dtype in (torch.float32, torch.bfloat16):
        if count * dtype.itemsize + _WORKING_BYTES <= free:
            return dtype
    raise DeviceMemoryError(
        f"A model of {count / 1e9:.1f} billion parameters needs more than the "
        f"{free / 1024**3:.1f} GiB that are free.",
        next_step="Close other programs, or choose a smaller base model.",
    )


def _settings(model: torch.nn.Module) -> DirectSettings:
    """Every linear layer that a distillation could adapt, and so every path of a back-end."""
    leaves = {name.rpartition(".")[2] for name, module in model.named_modules() if _linear(module)}
    modules = [name for name in ALL_LINEAR if name in leaves] or sorted(leaves - {"lm_head"})
    return DirectSettings(rank=RANK, alpha=2.0 * RANK, target_modules=modules)


def _linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


@torch.no_grad()
def _answer(model: Any, tokenizer: Any, prompt: Sequence[int]) -> KnownAnswer:
    """Greedy, without any cache: every token from the whole of what was before it."""
    model.eval()
    found: list[int] = []
    logprobs, margins, texts = [], [], []
    while len(found) < _TOKENS and tokenizer.eos_token_id not in found:
        ids = torch.tensor([[*prompt, *found]], device=model.device)
        best = model(ids).logits[0, -1].float().log_softmax(-1).topk(2)
        found.append(int(best.indices[0]))
        logprobs.append(float(best.values[0]))
        margins.append(float(best.values[0] - best.values[1]))
        texts.append(_text(tokenizer, found))
    model.train()
    return KnownAnswer(texts=texts, logprobs=logprobs, margins=margins)


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Whole characters only; no special token."""
    text: str = tokenizer.decode(
        tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text.rstrip("\ufffd")
