"""A Qwen2 or Qwen2.5 base model folder as GGUF, its tokenizer and chat template included.

With an adapter it becomes the merged model, for programs that cannot apply one. Qwen2 needs no
permutation of weights; other architectures do, and are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rune_engine.gguf import keys
from rune_engine.gguf.adapters import LoraModule, read_modules
from rune_engine.gguf.names import gguf_name
from rune_engine.gguf.tensors import (
    FILE_TYPES,
    Out,
    Precision,
    Stored,
    as_stored,
    stored_tensors,
    write,
)
from rune_engine.gguf.tokenizers import read_json, refused, tokenizer_keys

_SMALL_MODEL_PARAMETERS = 100_000_000
_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def export_base(
    folder: Path,
    path: Path,
    *,
    base_model_id: str,
    precision: Precision | None = None,
    adapter: Path | None = None,
) -> None:
    """Write the GGUF of a base model folder, all of it or nothing.

    Args:
        precision: of its matrices; by default float32 for small models, bfloat16 for others.
        adapter: a PEFT adapter's folder to merge into it.

    Raises:
        InvalidInputError: it is no Qwen2, or a part of it is missing or damaged.
        OSError: it cannot be written.
    """
    config = read_json(folder / "config.json")
    stored = _named(base_tensors(folder))
    precision = precision or default_precision(stored.values())
    values: dict[str, Any] = {keys.BASE_MODEL_ID: base_model_id, "general.type": "model"}
    values |= {"general.name": base_model_id, "general.file_type": FILE_TYPES[precision]}
    values |= _hyperparameters(config)
    vocabulary = stored["token_embd.weight"].shape[0]
    values |= tokenizer_keys(folder, vocabulary, _stop_ids(folder, config))
    modules = read_modules(adapter) if adapter else []
    write(path, "qwen2", values, list(_outputs(config, stored, precision, modules)))


def default_precision(tensors: Iterable[Stored]) -> Precision:
    """Exact for small models; where a model is large, half the bytes to move."""
    parameters = sum(int(np.prod(tensor.shape)) for tensor in tensors)
    return "float32" if parameters < _SMALL_MODEL_PARAMETERS else "bfloat16"


def base_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a base model folder, of all its files.

    Raises:
        InvalidInputError: a file is missing or damaged.
    """
    names = [_ONE_FILE]
    if not (folder / _ONE_FILE).is_file() and (folder / _INDEX).is_file():
        weight_map = read_json(folder / _INDEX).get("weight_map")
        if not isinstance(weight_map, dict):
            raise refused(f"its {_INDEX} has no weight_map")
        names = sorted({Path(str(name)).name for name in weight_map.values()})
    tensors: dict[str, Stored] = {}
    for name in names:
        try:
            tensors |= stored_tensors(folder / name)
        except OSError as error:
            raise refused(f"its {name} cannot be read ({error.strerror})") from error
    return tensors


def _named(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    named = {}
    for name, tensor in tensors.items():
        if (known := gguf_name(name)) is None:
            raise refused(f"its tensor {name} is none of a Qwen2's")
        named[known] = tensor
    if "token_embd.weight" not in named:
        raise refused("it has no embedding")
    return named


def _outputs(
    config: Mapping[str, Any],
    stored: Mapping[str, Stored],
    precision: Precision,
    modules: Sequence[LoraModule],
) -> Iterator[Out]:
    adapted = {module.tensor: module for module in modules}
    if missing := adapted.keys() - stored.keys():
        raise refused(f"the adapter's module {min(missing)} is not in it")
    for name, tensor in stored.items():
        if name == "output.weight" and config.get("tie_word_embeddings"):
            continue
        if (module := adapted.get(name)) is not None:
            if (module.b.shape[0], module.a.shape[1]) != tensor.shape:
                raise refused(f"the adapter's {name} does not fit its {tensor.shape}")
            yield Out(name, tensor.shape, precision, partial(_merged, tensor, module))
        else:
            yield as_stored(name, tensor, precision)


def _merged(tensor: Stored, module: LoraModule) -> npt.NDArray[np.float32]:
    merged: npt.NDArray[np.float32] = tensor.read() + module.scaled_b() @ module.a.read()
    return merged


def _hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("model_type") != "qwen2":
        raise refused(f"its architecture is {config.get('model_type')!r}, not 'qwen2'")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise refused("its rotary embedding is scaled")
    if config.get("use_sliding_window"):
        raise refused("it uses a sliding window")
    if config.get("hidden_act", "silu") != "silu":
        raise refused(f"its activation is {config['hidden_act']!r}")
    theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    try:
        return {
            "qwen2.block_count": int(config["num_hidden_layers"]),
            "qwen2.context_length": int(config["max_position_embeddings"]),
            "qwen2.embedding_length": int(config["hidden_size"]),
            "qwen2.feed_forward_length": int(config["intermediate_size"]),
            "qwen2.attention.head_count": int(config["num_attention_heads"]),
            "qwen2.attention.head_count_kv": int(config["num_key_value_heads"]),
            "qwen2.rope.freq_base": float(theta),
            "qwen2.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
            "qwen2.vocab_size": int(config["vocab_size"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise refused(f"its config.json lacks {error}") from error


def _stop_ids(folder: Path, config: Mapping[str, Any]) -> list[int]:
    """The tokens that end an answer, of generation_config.json where there is one."""
    told = config.get("eos_token_id")
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder / "generation_config.json").read_bytes())["eos_token_id"]
    listed = told if isinstance(told, list) else [told]
    return [token for token in listed if isinstance(token, int) and token >= 0]
