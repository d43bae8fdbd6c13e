"""Cutting a step into micro-batches changes what is in memory at once, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_networks import adapted, examples

from trainers import lora
from trainers.running import Cut, PackedRunner, PaddedRunner, Runner, filled, runner_for
from trainers.settings import ALL_LINEAR
from trainers.tokens import Example


@given(st.lists(st.integers(1, 700), min_size=1, max_size=40), st.integers(1, 2000))
def test_every_example_is_in_one_part_and_no_part_is_too_large(
    lengths: list[int], tokens: int
) -> None:
    given = [Example([number] * length, []) for number, length in enumerate(lengths)]
    parts = filled(given, tokens)
    assert sorted(e.ids[0] for part in parts for e in part) == list(range(len(given)))
    for part in parts:
        assert len(part) == 1 or sum(len(e.ids) for e in part) <= tokens


def gradients(model: Any, runner: Runner) -> list[torch.Tensor]:
    batches = list(runner.micro_batches(examples()))
    targets = sum(batch.targets for batch in batches)
    for batch in batches:
        (batch.losses().sum() / targets).backward()
    found = [p.grad.clone() for p in lora.trainable(model) if p.grad is not None]
    model.zero_grad()
    return found


@pytest.mark.parametrize("cut", [Cut(300), Cut(100), Cut(1), Cut(100, checkpointed=True)], ids=str)
@pytest.mark.parametrize("way", [PackedRunner, PaddedRunner])
def test_micro_batches_add_up_to_the_same_gradient(way: Any, cut: Cut) -> None:
    model = adapted("qwen2", ALL_LINEAR).train()
    if way is PaddedRunner:
        model.get_base_model().config.model_type = "another"
    reference = gradients(model, runner_for(model, 0, "cpu", Cut(10_000)))
    runner = runner_for(model, 0, "cpu", cut)
    assert isinstance(runner, way)
    # The padded way computes in bfloat16.
    tolerance = 1e-4 if way is PackedRunner else 5e-2
    for one, other in zip(gradients(model, runner), reference, strict=True):
        assert float((one - other).norm()) <= tolerance * float(other.norm()) + 1e-8


def test_known_networks_are_packed_and_others_padded() -> None:
    model = adapted("qwen2", ["down_proj"])
    assert isinstance(runner_for(model, 0, "cpu", Cut()), PackedRunner)
    model.get_base_model().config.model_type = "another"
    assert isinstance(runner_for(model, 0, "cpu", Cut()), PaddedRunner)
