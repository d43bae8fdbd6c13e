"""Adapters on a model's linear layers, several at once. Runs in the worker process only.

In place of PEFT's machinery: an adapted layer looks up, at each forward, which adapters are
selected for which rows, so switching is one assignment however many layers there are, and a layer
that no adapter was ever loaded for is untouched. Knows torch; nothing of files, rows or requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from rune_engine.inference.adapter_files import AdapterFile, LoraPair
from rune_engine.tensor_files import Matrix

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a batch, all of them where None, that one adapter is on for."""

    key: str
    rows: slice | None = None


@dataclass(frozen=True, slots=True)
class _Weights:
    """What a layer's answer becomes: `gain` times it, plus `shift`, plus x A^T B^T.

    The scaling is part of `b`, which is B^T. A plain LoRA has neither gain nor shift.
    """

    a: torch.Tensor
    b: torch.Tensor
    gain: torch.Tensor | None = None
    shift: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        tensors = (self.a, self.b, self.gain, self.shift)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


class LoraLayers:
    """The linear layers of one model, and the adapters loaded for them.

    Args:
        model: a model in evaluation mode, of which no layer is replaced afterwards.
        dtype: what the model computes in; adapters are kept in it, too.
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        self._linear = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        self._dtype = dtype
        self._adapted: dict[str, dict[str, _Weights]] = {}
        self._selection: list[Sequence[Part]] = [()]

    def problem(self, file: AdapterFile) -> str | None:
        """Why the adapter does not fit the model, if it does not."""
        for name, pair in file.pairs.items():
            layer = self._linear.get(name)
            if layer is None:
                return f"the base model has no linear layer {name!r}"
            shape = (pair.b.shape[0], pair.a.shape[1])
            if shape != (layer.out_features, layer.in_features):
                expected = (layer.out_features, layer.in_features)
                return f"its matrices for {name!r} make {shape}, the layer is {expected}"
        return None

    def load(self, key: str, file: AdapterFile) -> int:
        """Keep the adapter's weights under `key`; returns how many bytes they take."""
        device = next(iter(self._linear.values())).weight.device
        data = torch.frombuffer(file.data, dtype=torch.uint8).to(device)
        taken = 0
        for name, pair in file.pairs.items():
            if name not in self._adapted:
                self._adapt(name)
            weights = self._weights(self._linear[name], data, pair)
            self._adapted[name][key] = weights
            taken += weights.nbytes
        return taken

    def unload(self, key: str) -> None:
        """Forget the adapter's weights."""
        for weights in self._adapted.values():
            weights.pop(key, None)

    def select(self, parts: Sequence[Part]) -> None:
        """From now on every forward has these adapters on; rows in no part have none."""
        self._selection[0] = parts

    def _weights(self, layer: torch.nn.Linear, data: torch.Tensor, pair: LoraPair) -> _Weights:
        """The pair's matrices; they may share memory with `data`, which is ours."""
        a, b = self._typed(data, pair.a), self._typed(data, pair.b).mul_(pair.scaling)
        if pair.magnitude is None:
            return _Weights(a.to(self._dtype), b.to(self._dtype).t())
        gain = self._typed(data, pair.magnitude).float() / _lengths(layer, a.float(), b.float())
        shift = None if layer.bias is None else ((1 - gain) * layer.bias).to(self._dtype)
        b = b * gain.unsqueeze(1)
        return _Weights(a.to(self._dtype), b.to(self._dtype).t(), gain.to(self._dtype), shift)

    @staticmethod
    def _typed(data: torch.Tensor, matrix: Matrix) -> torch.Tensor:
        dtype, part = _DTYPES[matrix.dtype], data[matrix.start : matrix.stop]
        aligned = matrix.start % dtype.itemsize == 0
        return (part if aligned else part.clone()).view(dtype).view(matrix.shape)

    def _adapt(self, name: str) -> None:
        weights: dict[str, _Weights] = {}
        layer: Any = self._linear[name]
        layer.forward = _with_adapters(layer.forward, weights, self._selection)
        self._adapted[name] = weights


def _with_adapters(
    base: Callable[[torch.Tensor], torch.Tensor],
    weights: dict[str, _Weights],
    selection: Sequence[Sequence[Part]],
) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        """`x` is [rows, tokens, in]; the answer is [rows, tokens, out]."""
        out = base(x)
        for part in selection[0]:
            if (own := weights.get(part.key)) is not None:
                rows_in, rows_out = (
                    (x, out) if part.rows is None else (x[part.rows], out[part.rows])
                )
                if own.gain is not None:
                    rows_out.mul_(own.gain)
                if own.shift is not None:
                    rows_out.add_(own.shift)
                low = linear(rows_in.reshape(-1, rows_in.shape[-1]), own.a)
                rows_out.view(-1, rows_out.shape[-1]).addmm_(low, own.b)
        return out

    return forward


@torch.inference_mode()
def _lengths(layer: torch.nn.Linear, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of each row of W + B A, [out], without forming the product (DoRA, Liu et al. 2024)."""
    weight = _full(layer).float()
    both = (b * linear(weight, a)).sum(1)
    own = ((b @ (a @ a.T)) * b).sum(1)
    return (weight.square().sum(1) + 2 * both + own).clamp(min=0).sqrt()


def _full(layer: torch.nn.Linear) -> torch.Tensor:
    """The layer's weight as numbers, [out, in]; bitsandbytes keeps four bits of each."""
    weight: Any = layer.weight
    if (state := getattr(weight, "quant_state", None)) is None:
        return layer.weight
    from bitsandbytes.functional import dequantize_4bit

    full: torch.Tensor = dequantize_4bit(weight.data, state)
    return full
