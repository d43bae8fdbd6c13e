"""Merging in core space beside PEFT's dense `add_weighted_adapter(..., "*_svd")`, on one input.

    python -m benchmarks.merging [--layers 24 --hidden 896 --inner 4864 --kv 128 --rank 8]

The shapes are those of a model of 0.5 billion parameters; adapters are random and independent, the
hardest to merge. PEFT takes seconds a module, so one module of each shape is merged by both sides,
in turns, and both are scaled by the same number of modules; ours merges all of them, too, from file
to file. Seconds are of the processor, with one thread. Errors are relative, in the Frobenius norm:
from the same method on whole matrices, and from the plain average of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from rune_engine.models.merging import AdapterFolder, MergeJob
from trainers.closed_form.statistics import LowRank
from trainers.merging.adapters import Adapter
from trainers.merging.merge import merge, merge_adapters
from trainers.merging.methods import Method
from trainers.updates import save_updates

PEFT_NAMES = {
    "linear": "svd",
    "ties": "ties_svd",
    "dare_linear": "dare_linear_svd",
    "dare_ties": "dare_ties_svd",
}
NAMES = ("one", "other")
DENSITY = 0.5
PROMISED = 100.0


class Shape:
    """One module of a shape, with two adapters on both sides."""

    def __init__(self, outputs: int, inputs: int, count: int, rank: int) -> None:
        self.count = count
        self._rank = rank
        plain = nn.Module()
        plain.proj = nn.Linear(inputs, outputs, bias=False)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=["proj"])
        self._model: Any = get_peft_model(plain, config, adapter_name=NAMES[0])
        self._model.add_adapter(NAMES[1], config)
        for name, parameter in self._model.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter)
        self.layer: Any = self._model.base_model.model.proj
        self.adapters = [self._adapter(name) for name in NAMES]

    def _adapter(self, name: str) -> Adapter:
        a, b = self.layer.lora_A[name].weight.detach(), self.layer.lora_B[name].weight.detach()
        return Adapter(name, "random", ("proj",), {"proj": LowRank(b, a)})

    def peft(self, method: str) -> Tensor:
        """PEFT's merge, as a whole matrix; its plainest SVD, which is its fastest."""
        # PEFT divides by how many agree, whatever their weights.
        weight = 1.0 if method in ("ties", "dare_ties") else 0.5
        torch.manual_seed(0)
        self._model.add_weighted_adapter(
            list(NAMES),
            [weight, weight],
            "both",
            combination_type=PEFT_NAMES[method],
            density=DENSITY,
            svd_full_matrices=False,
        )
        found: Tensor = self.layer.get_delta_weight("both").detach()
        self._model.delete_adapter("both")
        return found

    def ours(self, method: str, rank: int | None = None) -> LowRank:
        return merge_adapters(self.adapters, _method(method), rank).updates["proj"]

    def errors(self, method: str, peft: Tensor) -> dict[str, float]:
        """How far each side is from what it stands for."""
        deltas = [(u.b.double() @ u.a.double()) for u in (a.updates["proj"] for a in self.adapters)]
        average = (deltas[0] + deltas[1]) / 2
        torch.manual_seed(0)
        weights = torch.tensor([0.5, 0.5])
        drawn_by_peft = _peft_dense(method, [delta.float() for delta in deltas], weights)
        dense = _method(method).combine(deltas, "proj")
        ours, cut = (self.ours(method, rank) for rank in (None, self._rank))
        return {
            "peft": _off(peft, drawn_by_peft),
            "ours": _off(ours.b @ ours.a, dense),
            "ours_at_that_rank": _off(cut.b @ cut.a, dense),
            "peft_from_average": _off(peft, average),
            "ours_from_average": _off(ours.b @ ours.a, average),
        }


def _method(name: str) -> Method:
    return Method(name, (0.5, 0.5), DENSITY)


def _peft_dense(method: str, deltas: list[Tensor], weights: Tensor) -> Tensor:
    """What PEFT cuts to its rank, with the same draws."""
    from peft.utils import merge_utils

    if method == "linear":
        found: Tensor = merge_utils.task_arithmetic(deltas, weights)
        return found
    scale = 2 if method in ("ties", "dare_ties") else 1
    found = getattr(merge_utils, method)(deltas, weights * scale, DENSITY)
    return found


def _off(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def _seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(shapes: dict[str, Shape], repeats: int) -> dict[str, Any]:
    """Both sides of every method, in turns."""
    told: dict[str, Any] = {}
    for method in PEFT_NAMES:
        peft = ours = 0.0
        errors = {}
        for name, shape in shapes.items():
            shape.ours(method)
            mine = [_seconds(partial(shape.ours, method)) for _ in range(10 * repeats)]
            theirs = [_seconds(partial(shape.peft, method)) for _ in range(repeats)]
            peft += shape.count * median(theirs)
            ours += shape.count * median(mine)
            errors[name] = shape.errors(method, shape.peft(method))
        told[method] = {
            "peft_seconds": round(peft, 3),
            "ours_seconds": round(ours, 4),
            "ratio": round(peft / ours, 1),
            "errors": errors,
        }
        print(json.dumps({method: told[method]}), flush=True)
    return told


def whole(options: argparse.Namespace) -> float:
    """Seconds of a merge of every module, from two folders to a third."""
    modules = {
        f"model.layers.{layer}.{name}": sizes
        for layer in range(options.layers)
        for name, sizes in _modules(options).items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        parents = []
        for name in NAMES:
            updates = {
                module: LowRank(torch.randn(o, options.rank), torch.randn(options.rank, i))
                for module, (o, i) in modules.items()
            }
            folder = Path(scratch, name)
            folder.mkdir()
            save_updates(updates, sorted(_modules(options)), folder, "random")
            parents.append(AdapterFolder(id=name, path=str(folder), base_model_id="random"))
        job = MergeJob(
            job_id="whole",
            adapter_id="whole",
            parents=parents,
            method="ties",
            output_path=str(Path(scratch, "out")),
        )
        return _seconds(lambda: merge(job, lambda _done, _what: None))


def _modules(options: argparse.Namespace) -> dict[str, tuple[int, int]]:
    """A layer's modules: [outputs, inputs]."""
    hidden, inner, kv = options.hidden, options.inner, options.kv
    return {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=896)
    parser.add_argument("--inner", type=int, default=4864)
    parser.add_argument("--kv", type=int, default=128)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = list(_modules(options).values())
    shapes = {
        f"{o}x{i}": Shape(o, i, sizes.count((o, i)) * options.layers, options.rank)
        for o, i in dict.fromkeys(sizes)
    }
    methods = measure(shapes, options.repeats)
    found = {
        "modules": len(sizes) * options.layers,
        "rank": options.rank,
        "methods": methods,
        "least_ratio": min(each["ratio"] for each in methods.values()),
        "promised_ratio": PROMISED,
        "whole_ties_seconds": round(whole(options), 2),
    }
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if found["least_ratio"] < PROMISED:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
