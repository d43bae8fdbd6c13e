"""Cross-entropy in chunks is cross-entropy, and its gradient is the gradient."""

from __future__ import annotations

import pytest
import torch

from trainers import head


@pytest.mark.parametrize("count", [1, 127, 128, 300])
def test_chunks_change_neither_losses_nor_gradients(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "CHUNK_LOGITS", 128 * 50)
    assert head.chunk_rows(50) == 128
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 50, bias=False).requires_grad_(False)
    states = torch.randn(count, 16, requires_grad=True)
    labels = torch.randint(0, 50, (count,))
    weights = torch.rand(count)
    chunked = head.token_losses(layer, states, labels)
    whole = torch.nn.functional.cross_entropy(layer(states), labels, reduction="none")
    torch.testing.assert_close(chunked, whole)
    ours, theirs = (torch.autograd.grad((x * weights).sum(), states)[0] for x in (chunked, whole))
    torch.testing.assert_close(ours, theirs)


def test_a_large_vocabulary_never_has_all_logits_at_once() -> None:
    assert head.chunk_rows(151_936) * 151_936 <= head.CHUNK_LOGITS
    made: list[int] = []

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                made.append(out.numel())
            return out

    layer = torch.nn.Linear(8, 40_000, bias=False).requires_grad_(False)
    states = torch.randn(2_000, 8, requires_grad=True)
    with Seen():
        head.token_losses(layer, states, torch.zeros(2_000, dtype=torch.long)).sum().backward()
    assert max(made) <= head.CHUNK_LOGITS


def test_a_head_that_is_trained_gets_its_own_gradient() -> None:
    layer = torch.nn.Linear(8, 20, bias=False)
    head.token_losses(layer, torch.randn(5, 8), torch.arange(5)).sum().backward()
    assert layer.weight.grad is not None and float(layer.weight.grad.abs().sum()) > 0
