"""What both sides of the training benchmark get: token ids with labels, and base models on disk.

The examples are real conversations of generated projects, tokenised once: no side tokenises.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, ModuleType

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

import base_models
import prompts
from project_worlds import make_project, make_sessions
from trainers.tokens import IGNORED, Example, encode

HALF_BILLION = "qwen-0.5b-shape"
"""Random weights at the shape of Qwen2.5-Coder-0.5B."""


def project_examples(projects: Sequence[int], max_length: int) -> list[Example]:
    """Examples of generated projects, twelve sessions each, as a distillation makes them."""
    tokenizer = AutoTokenizer.from_pretrained(base_models.describe("rune-nano").path)
    found = []
    for session in (s for seed in projects for s in make_sessions(make_project(seed), 12)):
        answer = prompts.render("answer", code=session.task.solution)
        failed = [(code, "AssertionError: wrong") for code in session.attempts[:-1]]
        for history in [[], failed] if failed else [[]]:
            messages = prompts.conversation(session.task.description, history)
            found.append(encode(tokenizer, messages, answer, max_length))
    return found


def library_examples(modules: Sequence[ModuleType], max_length: int) -> list[Example]:
    """What the functions of the standard library are said to do, and their code.

    Lengths are spread as those of real code are: most short, some very long.
    """
    tokenizer = AutoTokenizer.from_pretrained(base_models.describe("rune-nano").path)
    found = []
    for module in modules:
        for function in _functions(module):
            task = f"{module.__name__}.{function.__name__}: {inspect.getdoc(function)}"
            answer = prompts.render("answer", code=inspect.getsource(function))
            found.append(encode(tokenizer, prompts.conversation(task), answer, max_length))
    return [example for example in found if len(example.ids) < max_length]


def _functions(module: ModuleType) -> list[FunctionType]:
    members = [value for _, value in inspect.getmembers(module, inspect.isfunction)]
    return [f for f in members if f.__module__ == module.__name__ and inspect.getdoc(f)]


def write_examples(file: Path, examples: Sequence[Example]) -> None:
    rows = (json.dumps({"ids": e.ids, "labels": e.labels}) for e in examples)
    file.write_text("\n".join(rows), encoding="utf-8")


def read_examples(file: str | Path) -> list[Example]:
    return [Example(**json.loads(line)) for line in Path(file).read_text().splitlines()]


def target_tokens(examples: Sequence[Example]) -> int:
    """How many tokens carry loss."""
    return sum(label != IGNORED for e in examples for label in e.labels[1:])


def make_model(name: str, folder: Path) -> Path:
    """The folder of a model: `rune-nano`, `HALF_BILLION`, or any that Transformers loads."""
    if name != HALF_BILLION:
        return base_models.describe(name).path
    out = folder / name
    nano = base_models.describe("rune-nano").path
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=2,
        dtype="bfloat16",
    )
    with torch.device("cpu"):
        Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(out)
    for file in nano.glob("*token*"):
        shutil.copy(file, out)
    for file in nano.glob("*.jinja"):
        shutil.copy(file, out)
    return out
