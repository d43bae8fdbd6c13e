"""The shape of a decoder-only transformer, and what follows from it: parameters and cache bytes.

Read from a Hugging Face `config.json` or from a GGUF header. Knows nothing of machines.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base_models.gguf_header import Value, read_header


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of an architecture decides how much memory it takes.

    `inner` is the width of the feed-forward layers; `context` is in tokens; `tied` says that the
    output matrix is the input embedding; `biased` that queries, keys and values have biases.
    """

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    tied: bool = True
    biased: bool = True

    @property
    def embedding(self) -> int:
        """Parameters of one vocabulary matrix."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Of a gated feed-forward transformer such as Qwen2 or Llama; an estimate for others."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = 2 * self.hidden * queries + 2 * self.hidden * keys
        biases = queries + 2 * keys if self.biased else 0
        layer = attention + biases + 3 * self.hidden * self.inner + 2 * self.hidden
        matrices = 1 if self.tied else 2
        return matrices * self.embedding + self.layers * layer + self.hidden

    def cache_bytes(self, tokens: int, bytes_each: float = 2) -> int:
        """The key-value cache of a sequence of `tokens`, with 16-bit numbers by default."""
        return int(2 * self.layers * self.kv_heads * self.head_size * tokens * bytes_each)


def shape_of(path: Path) -> ModelShape | None:
    """The shape of a model's folder or `.gguf` file; None where it does not tell.

    Raises:
        OSError: it cannot be read.
    """
    try:
        if path.suffix == ".gguf":
            return _from_header(read_header(path))
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return _from_config(config.get("text_config", config))
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None


def _from_config(config: dict[str, Any]) -> ModelShape:
    heads = int(config["num_attention_heads"])
    hidden = int(config["hidden_size"])
    return ModelShape(
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        inner=int(config["intermediate_size"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_size=int(config.get("head_dim") or hidden // heads),
        vocabulary=int(config["vocab_size"]),
        context=int(config["max_position_embeddings"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        biased=bool(config.get("attention_bias", config.get("model_type") == "qwen2")),
    )


def _from_header(header: dict[str, Value]) -> ModelShape:
    kind = header["general.architecture"]
    heads = int(header[f"{kind}.attention.head_count"])
    hidden = int(header[f"{kind}.embedding_length"])
    return ModelShape(
        layers=int(header[f"{kind}.block_count"]),
        hidden=hidden,
        inner=int(header[f"{kind}.feed_forward_length"]),
        heads=heads,
        kv_heads=int(header.get(f"{kind}.attention.head_count_kv", heads)),
        head_size=int(header.get(f"{kind}.attention.key_length", hidden // heads)),
        vocabulary=int(header["tokenizer.ggml.tokens"]),
        context=int(header[f"{kind}.context_length"]),
        biased=kind == "qwen2",
    )
