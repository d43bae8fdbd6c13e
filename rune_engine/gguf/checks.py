"""May native code read this file? Asked of every GGUF file, adapters' and base models'.

llama.cpp ends the process over some files and loads others that answer wrongly. Knows what a
Qwen2 and a LoRA of it look like; of other architectures only the format is checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rune_engine.gguf import keys
from rune_engine.gguf.reading import (
    F32,
    I32,
    STRING,
    U32,
    Gguf,
    MalformedGguf,
    Tensor,
    read,
)
from rune_engine.gguf.tensors import tensors_sha256

_NO_WEIGHTS = (24, 25, 26, 27, 28)
"""Integers and float64: llama.cpp loads them, and ends the process as it multiplies."""
_EXPONENTS = {0: ("<u4", 0x7F800000), 1: ("<u2", 0x7C00)}
"""How to read a number of each type of adapters, and the bits that are set in what is none."""
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<parts>\d{5})\.gguf")
_CHUNK = 4 * 1024**2
_MAX_LAYERS = 1000
_COUNTS = {
    **{"block_count": _MAX_LAYERS, "context_length": 2**31 - 1, "embedding_length": 2**20},
    **{"feed_forward_length": 2**24, "attention.head_count": 4096},
    "attention.head_count_kv": 4096,
}


def check_base(path: Path) -> Gguf:
    """Read a base model's header; see that it is one that llama.cpp can load.

    Its numbers are not looked at: llama.cpp does that as it loads, if it is asked to.

    Raises:
        MalformedGguf: it is not; the message says why.
        OSError: it cannot be read.
    """
    found = _whole(path)
    architecture = found.typed("general.architecture", STRING)
    if found.keys.get("general.type", "model") != "model":
        raise MalformedGguf(f"it is of the type {found.keys['general.type']!r}, not a model")
    if not found.tensors:
        raise MalformedGguf("it has no tensors")
    for tensor in found.tensors.values():
        if tensor.type in _NO_WEIGHTS:
            raise MalformedGguf(f"the tensor {tensor.name} has the type {tensor.type}")
    _check_tokenizer(found)
    if architecture == "qwen2":
        _check_qwen2(found)
    return found


def _whole(path: Path) -> Gguf:
    """A file's header, with the tensors of the files that it is split into."""
    found = read(path)
    parts = found.keys.get("split.count", 0)
    if parts in (0, 1):
        return found
    name = _SPLIT.fullmatch(path.name)
    if name is None or name["number"] != "00001" or name["parts"] != f"{parts:05}":
        raise MalformedGguf(f"it is one of {parts} parts, and not named as the first of them")
    for number in range(2, parts + 1):
        other = read(path.with_name(f"{name['stem']}-{number:05}-of-{parts:05}.gguf"))
        if other.tensors.keys() & found.tensors.keys():
            raise MalformedGguf(f"its part {number} has tensors of another part")
        found.tensors.update(other.tensors)
    return found


def check_adapter(path: Path, base: Gguf, *, base_model_id: str, sha256: str) -> None:
    """See that `path` is the GGUF of the adapter with these weights, for this base model.

    Raises:
        MalformedGguf: it is damaged, or another's.
        OSError: it cannot be read.
    """
    found = read(path)
    architecture = base.keys["general.architecture"]
    told = {"general.architecture": architecture, "general.type": "adapter"}
    told |= {"adapter.type": "lora", keys.ADAPTER_SHA256: sha256}
    told |= {keys.BASE_MODEL_ID: base_model_id}
    for key, wanted in told.items():
        if (value := found.typed(key, STRING)) != wanted:
            raise MalformedGguf(f"its {key} is {value!r}, not {wanted!r}")
    if not math.isfinite(found.typed("adapter.lora.alpha", F32)):
        raise MalformedGguf("its alpha is not a number")
    _check_pairs(found.tensors, base.tensors)
    _check_numbers(found)


def _check_tokenizer(found: Gguf) -> None:
    found.typed("tokenizer.ggml.model", STRING)
    tokens = found.array("tokenizer.ggml.tokens", STRING)
    if not tokens:
        raise MalformedGguf("it has no tokens")
    if "tokenizer.ggml.token_type" in found.keys:
        types = found.array("tokenizer.ggml.token_type", I32, U32)
        if len(types) != len(tokens):
            raise MalformedGguf(f"it has {len(tokens)} tokens and {len(types)} token types")
    if found.keys["tokenizer.ggml.model"] == "gpt2":
        merges = found.array("tokenizer.ggml.merges", STRING)
        if any(" " not in merge[1:] for merge in merges):
            raise MalformedGguf("one of its merges is none")
    if keys.STOP_IDS in found.keys:
        stops = found.array(keys.STOP_IDS, U32)
        if not stops or max(stops) >= len(tokens):
            raise MalformedGguf(f"its {keys.STOP_IDS} are {stops}")
    for key, value in found.keys.items():
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            found.typed(key, U32, I32)
            if not 0 <= value < len(tokens):
                raise MalformedGguf(f"its {key} is {value}")
    if "tokenizer.chat_template" in found.keys:
        found.typed("tokenizer.chat_template", STRING)


def _check_qwen2(found: Gguf) -> None:
    counts = {name: found.typed(f"qwen2.{name}", U32) for name in _COUNTS}
    for name, largest in _COUNTS.items():
        if not 1 <= counts[name] <= largest:
            raise MalformedGguf(f"its qwen2.{name} is {counts[name]}")
    hidden, heads = counts["embedding_length"], counts["attention.head_count"]
    kv_heads = counts["attention.head_count_kv"]
    if hidden % heads or heads % kv_heads or (hidden // heads) % 2:
        raise MalformedGguf(f"{heads} heads, {kv_heads} for keys, do not divide {hidden}")
    for name in ("rope.freq_base", "attention.layer_norm_rms_epsilon"):
        value = found.keys.get(f"qwen2.{name}", 1e-6)
        if not isinstance(value, float) or not 0 < value < 1e12:
            raise MalformedGguf(f"its qwen2.{name} is {value!r}")
    for extra in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        if found.keys.get(f"qwen2.{extra}", hidden // heads) != hidden // heads:
            raise MalformedGguf(f"its qwen2.{extra} is not {hidden // heads}")
    tokens = len(found.keys["tokenizer.ggml.tokens"])
    _check_shapes(found.tensors, _qwen2_shapes(counts, tokens))


def _qwen2_shapes(counts: Mapping[str, int], tokens: int) -> dict[str, tuple[int, ...]]:
    """Each needed tensor's shape, the innermost dimension first."""
    hidden, wide = counts["embedding_length"], counts["feed_forward_length"]
    kv = hidden // counts["attention.head_count"] * counts["attention.head_count_kv"]
    layer: dict[str, tuple[int, ...]] = {
        **{"attn_norm.weight": (hidden,), "ffn_norm.weight": (hidden,)},
        **{"attn_q.weight": (hidden, hidden), "attn_output.weight": (hidden, hidden)},
        **{"attn_k.weight": (hidden, kv), "attn_v.weight": (hidden, kv)},
        **{"attn_q.bias": (hidden,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)},
        **{"ffn_gate.weight": (hidden, wide), "ffn_up.weight": (hidden, wide)},
        "ffn_down.weight": (wide, hidden),
    }
    shapes = {"token_embd.weight": (hidden, tokens), "output_norm.weight": (hidden,)}
    for index in range(counts["block_count"]):
        shapes |= {f"blk.{index}.{name}": shape for name, shape in layer.items()}
    return shapes


def _check_shapes(tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
    output = {"output.weight": wanted["token_embd.weight"]}
    for name, shape in {**wanted, **output}.items():
        if name not in tensors:
            if name in output:
                continue
            raise MalformedGguf(f"the tensor {name} is missing")
        if tensors[name].shape != shape:
            raise MalformedGguf(f"the tensor {name} has the shape {tensors[name].shape}")
        if len(shape) == 1 and tensors[name].type != 0:
            raise MalformedGguf(f"the vector {name} is not float32")
    if unknown := tensors.keys() - wanted.keys() - output.keys():
        raise MalformedGguf(f"there is no tensor {min(unknown)} in a Qwen2")


def _check_pairs(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> None:
    names = {name.removesuffix(".lora_a").removesuffix(".lora_b") for name in tensors}
    if not names or len(tensors) != 2 * len(names):
        raise MalformedGguf("a tensor has only one of A and B")
    for name in names:
        a, b = tensors.get(f"{name}.lora_a"), tensors.get(f"{name}.lora_b")
        if a is None or b is None:
            raise MalformedGguf(f"{name} has only one of A and B")
        if name not in base or name == "token_embd.weight":
            raise MalformedGguf(f"{name} is not a layer of the base model")
        if a.type not in _EXPONENTS or b.type not in _EXPONENTS:
            raise MalformedGguf(f"{name} has the types {a.type} and {b.type}")
        flat = len(a.shape) == len(b.shape) == len(base[name].shape) == 2
        if not flat or (a.shape[0], b.shape[1]) != base[name].shape or a.shape[1] != b.shape[0]:
            raise MalformedGguf(f"{name} has A {a.shape} and B {b.shape}")


def _check_numbers(found: Gguf) -> None:
    """Every number is finite, and they are the ones that were written."""
    data = np.memmap(found.path, np.uint8, "r")
    parts = [data[t.offset : t.offset + t.size] for t in found.tensors.values()]
    for tensor, part in zip(found.tensors.values(), parts, strict=True):
        kind, exponent = _EXPONENTS[tensor.type]
        numbers = part.view(kind)
        for start in range(0, len(numbers), _CHUNK):
            if ((numbers[start : start + _CHUNK] & exponent) == exponent).any():
                raise MalformedGguf(f"{tensor.name} holds what is not a number")
    if tensors_sha256(parts) != found.typed(keys.TENSORS_SHA256, STRING):
        raise MalformedGguf("its tensors are not those that were written")
