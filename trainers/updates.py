"""Writing low-rank updates down as an adapter in PEFT's format.

For what makes an adapter without training: PEFT itself is not imported, which takes longer than
most of that work. A test holds that PEFT reads what is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import pad

from trainers.closed_form.statistics import LowRank


def save_update(
    a: torch.Tensor, b: torch.Tensor, target: str, folder: Path, base_model_id: str
) -> None:
    """Write an update `b @ a` of one module into `folder`, as an adapter.

    Args:
        a: [rank, in].
        b: [out, rank].
        target: the module's path below `model`, such as `layers.3.mlp.down_proj`.
    """
    save_updates({f"model.{target}": LowRank(b, a)}, [target], folder, base_model_id)


def save_updates(
    updates: Mapping[str, LowRank], targets: Sequence[str], folder: Path, base_model_id: str
) -> None:
    """The same for updates of several modules; those of a lower rank get rows of zeros.

    Args:
        updates: by the modules' paths within the base model.
        targets: names that these paths end in.
    """
    rank = max(1, *(len(update.a) for update in updates.values()))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model_id,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted(targets),
        "bias": "none",
        "inference_mode": True,
    }
    text = json.dumps(config, indent=2, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    weights = {}
    for module, update in updates.items():
        name, more = f"base_model.model.{module}.lora_", rank - len(update.a)
        weights[f"{name}A.weight"] = pad(update.a, (0, 0, 0, more)).contiguous()
        weights[f"{name}B.weight"] = pad(update.b, (0, more)).contiguous()
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
