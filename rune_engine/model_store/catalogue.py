"""The base models that Rune knows by a short name: their repositories, licences and shapes.

The figures are those of the models' own `config.json` files. A model's `id` is the same for its
safetensors and its GGUF files, because an adapter made for the one fits the other. Knows nothing
of what is on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rune_engine.model_store.shapes import ModelShape

QUANTISATIONS = ("q4_k_m", "q8_0")
"""The GGUF files that are offered; others of the repository can be pulled by name, too."""

DISTILLATION: dict[str, Any] = {
    "rank": 16,
    "alpha": 32.0,
    "dropout": 0.0,
    "target_modules": [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ],
    "learning_rate": 2e-4,
    "weight_decay": 0.0,
    "batch_size": 4,
    "min_steps": 20,
    "max_steps": 200,
    "evaluate_every": 20,
    "patience": 3,
    "kept_back": 0.15,
    "max_length": 2048,
}
"""Common practice for LoRA on models of this size (every linear layer, alpha twice the rank)."""

DISTILLATION_NOTE = (
    "These settings are common practice for LoRA on models of this size. "
    "Rune has not been tested with them on this model."
)


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model, in safetensors in `repository` and as GGUF in `repository`-GGUF."""

    name: str
    id: str
    repository: str
    licence: str
    licence_note: str
    shape: ModelShape
    distillation: dict[str, Any] = field(default_factory=lambda: dict(DISTILLATION))

    @property
    def gguf_repository(self) -> str:
        return f"{self.repository}-GGUF"


def _qwen(
    size: str, shape: ModelShape, licence: str = "apache-2.0", note: str = ""
) -> CatalogueModel:
    name = f"qwen2.5-coder-{size}"
    return CatalogueModel(
        name=name,
        id=f"{name}-instruct",
        repository=f"Qwen/Qwen2.5-Coder-{size.upper()}-Instruct",
        licence=licence,
        licence_note=note,
        shape=shape,
    )


def _shape(layers: int, hidden: int, inner: int, heads: int, kv_heads: int) -> ModelShape:
    return ModelShape(
        layers=layers,
        hidden=hidden,
        inner=inner,
        heads=heads,
        kv_heads=kv_heads,
        head_size=hidden // heads,
        vocabulary=151_936 if hidden < 3584 else 152_064,
        context=32_768,
        tied=hidden < 3584,
    )


CATALOGUE = (
    _qwen("0.5b", _shape(24, 896, 4864, 14, 2)),
    _qwen("1.5b", _shape(28, 1536, 8960, 12, 2)),
    _qwen(
        "3b",
        _shape(36, 2048, 11008, 16, 2),
        "qwen-research",
        "The Qwen Research License permits research and evaluation only; commercial use needs a "
        "licence from its makers.",
    ),
    _qwen("7b", _shape(28, 3584, 18944, 28, 4)),
)


def by_name(name: str) -> CatalogueModel | None:
    """The model of that short name or id, whatever its case."""
    wanted = name.lower()
    return next((model for model in CATALOGUE if wanted in (model.name, model.id)), None)


def by_repository(repository: str) -> CatalogueModel | None:
    """The model whose safetensors or GGUF repository it is."""
    wanted = repository.lower()
    return next(
        (
            model
            for model in CATALOGUE
            if wanted in (model.repository.lower(), model.gguf_repository.lower())
        ),
        None,
    )
