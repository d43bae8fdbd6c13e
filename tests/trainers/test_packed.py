"""What the packed way computes is what Transformers and PEFT compute, gradients included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from training_networks import adapted, examples, network

from base_models.identity import FAMILY
from trainers import head, lora, packed
from trainers.settings import ALL_LINEAR
from trainers.tokens import IGNORED, Example


def packed_loss(model: Any, given: list[Example], *, checkpointed: bool = False) -> Tensor:
    base = model.get_base_model()
    batch = packed.pack(given, 0)
    states = packed.target_states(base, batch, checkpointed=checkpointed)
    return head.token_losses(base.get_output_embeddings(), states, batch.labels).mean()


def plain_loss(model: Any, given: list[Example]) -> Tensor:
    """One example at a time through Transformers' own forward pass and PEFT's layers."""
    losses = []
    for example in given:
        logits = model(input_ids=torch.tensor([example.ids])).logits[0, :-1]
        labels = torch.tensor(example.labels[1:])
        wanted = labels != IGNORED
        losses.append(
            torch.nn.functional.cross_entropy(logits[wanted], labels[wanted], reduction="none")
        )
    return torch.cat(losses).mean()


def gradients(model: Any, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, lora.trainable(model)))


def assert_equal_to_plain(model: Any, *, checkpointed: bool = False) -> None:
    given = examples()
    ours, theirs = packed_loss(model, given, checkpointed=checkpointed), plain_loss(model, given)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    for one, other in zip(gradients(model, ours), gradients(model, theirs), strict=True):
        assert float((one - other).abs().max()) <= 1e-4 * float(other.abs().max()) + 1e-8


@pytest.mark.parametrize("kind", sorted(FAMILY))
def test_loss_and_gradients_are_those_of_transformers(kind: str) -> None:
    model = adapted(kind, ALL_LINEAR)
    model.config.sliding_window = None
    assert packed.is_known(model.get_base_model())
    assert_equal_to_plain(model)


@pytest.mark.parametrize("modules", [["down_proj"], ["q_proj", "up_proj"], ["k_proj"]])
def test_layers_without_an_adapter_pass_gradients_on(modules: list[str]) -> None:
    assert_equal_to_plain(adapted("qwen2", modules))


def test_checkpointing_changes_no_gradient() -> None:
    assert_equal_to_plain(adapted("qwen2", ALL_LINEAR), checkpointed=True)


def test_dora_is_what_peft_makes_of_it() -> None:
    assert_equal_to_plain(adapted("qwen2", ALL_LINEAR, "qdora"))


def test_with_dropout_pefts_own_layers_are_run() -> None:
    model = adapted("qwen2", ["down_proj"], dropout=0.5)
    given = examples((40,))
    assert len({float(packed_loss(model.train(), given).detach()) for _ in range(3)}) == 3
    model.eval()
    assert float(packed_loss(model, given).detach()) == pytest.approx(
        float(plain_loss(model, given).detach()), rel=1e-5
    )


def test_neighbours_in_a_pack_do_not_see_each_other() -> None:
    model = adapted("qwen2", ALL_LINEAR)
    first, second, third = examples((50, 40, 35))
    other = Example([1] * 40, second.labels)
    kept = [
        packed.target_states(model.get_base_model(), packed.pack([first, middle, third], 0))
        for middle in (second, other)
    ]
    torch.testing.assert_close(kept[0][:25], kept[1][:25])
    torch.testing.assert_close(kept[0][-17:], kept[1][-17:])


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gemma2"},
        {"hidden_act": "gelu"},
        {"attention_dropout": 0.1},
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        {"layer_types": ["full_attention", "sliding_attention"]},
    ],
)
def test_a_network_with_anything_more_is_left_to_transformers(change: dict[str, Any]) -> None:
    model = network("qwen2")
    assert packed.is_known(model)
    for name, value in change.items():
        # The class attribute stands before the instance's.
        object.__setattr__(model.config, name, value)
    assert not packed.is_known(model)


def test_few_shapes_are_made_of_many_lengths() -> None:
    packs = [packed.pack(examples((length, length + 7)), 0) for length in range(2, 400, 3)]
    assert len({len(pack.ids) for pack in packs}) <= 8
    assert len({len(pack.wanted) for pack in packs}) <= 4
    shapes = {(group.sequences, group.reach) for pack in packs for group in pack.groups}
    assert len(shapes) <= 24
