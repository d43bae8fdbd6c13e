"""Adapters that a user could hand us and that nobody may load: one catalogue for all back-ends.

Each entry spoils a copy of a good adapter, as PEFT saves it, and names it with the hash that the
spoilt file has: what refuses it has looked inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rune_engine.inference.provider import AdapterRef

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Malformed:
    """What is wrong, and how to make a folder like that."""

    what: str
    spoil: Spoil

    @property
    def only_the_model_can_tell(self) -> bool:
        """Whether the files alone are those of a good adapter, of another base model."""
        return self.what == "a layer that the model lacks"

    def make(self, good: AdapterRef, folder: Path) -> AdapterRef:
        shutil.copytree(good.path, folder)
        self.spoil(folder)
        weights = folder / WEIGHTS
        readable = weights.is_file() and weights.stat().st_size < 2**30
        digest = hashlib.sha256(weights.read_bytes()).hexdigest() if readable else good.sha256
        return replace(good, id=f"malformed-{folder.name}", path=folder, sha256=digest)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and its data."""
    end = 8 + int(struct.unpack("<Q", content[:8])[0])
    return json.loads(content[8:end]), content[end:]


def joined(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def content(change: Callable[[bytes], bytes]) -> Spoil:
    """Spoils the bytes of the weights."""

    def spoil(folder: Path) -> None:
        weights = folder / WEIGHTS
        good = weights.read_bytes()
        weights.unlink()
        weights.write_bytes(change(good))

    return spoil


def header(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Spoils the header and leaves the data as it is."""

    def spoil(good: bytes) -> bytes:
        entries, data = split(good)
        changed = change(entries)
        return joined(json.dumps(entries if changed is None else changed).encode(), data)

    return content(spoil)


def raw_header(text: Callable[[str], str | bytes]) -> Spoil:
    """Spoils the header's own text."""

    def spoil(good: bytes) -> bytes:
        entries, data = split(good)
        changed = text(json.dumps(entries))
        return joined(changed.encode() if isinstance(changed, str) else changed, data)

    return content(spoil)


def first(**values: Any) -> Spoil:
    """Spoils the first tensor's entry."""
    return header(lambda entries: entries[names(entries)[0]].update(values))


def names(entries: dict[str, Any]) -> list[str]:
    found = [name for name in entries if name != "__metadata__"]
    return sorted(found, key=lambda name: entries[name]["data_offsets"])


def rename(old: str, new: str) -> Spoil:
    return header(lambda entries: {name.replace(old, new): v for name, v in entries.items()})


def number(dtype: str, bits: bytes) -> Spoil:
    """Makes the first tensor one of `dtype` with these bits in its middle."""

    def spoil(good: bytes) -> bytes:
        entries, data = split(good)
        chosen, *others = names(entries)
        rows, columns = entries[chosen]["shape"]
        size = rows * columns * len(bits)
        values = bytearray(size)
        values[size // 2 : size // 2 + len(bits)] = bits
        old = entries[chosen]["data_offsets"][1]
        entries[chosen] |= {"dtype": dtype, "data_offsets": [0, size]}
        for name in others:
            start, stop = entries[name]["data_offsets"]
            entries[name]["data_offsets"] = [start - old + size, stop - old + size]
        return joined(json.dumps(entries).encode(), bytes(values) + data[old:])

    return content(spoil)


def without(suffix: str) -> Spoil:
    """Leaves out the last tensor if its name ends so, data included."""

    def spoil(good: bytes) -> bytes:
        entries, data = split(good)
        kept, out = {}, b""
        gone = next(name for name in names(entries) if name.endswith(suffix))
        for name in names(entries):
            if name != gone:
                start, stop = entries[name]["data_offsets"]
                moved = [len(out), len(out) + stop - start]
                kept[name] = entries[name] | {"data_offsets": moved}
                out += data[start:stop]
        return joined(json.dumps(kept).encode(), out)

    return content(spoil)


def more(name: str, shape: list[int]) -> Spoil:
    """Adds a tensor of zeros."""

    def spoil(good: bytes) -> bytes:
        entries, data = split(good)
        size = 4
        for length in shape:
            size *= length
        offsets = [len(data), len(data) + size]
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        return joined(json.dumps(entries).encode(), data + bytes(size))

    return content(spoil)


def instead(name: str, make: Callable[[Path], None]) -> Spoil:
    """Puts something else in a file's place."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def config(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def config_text(change: Callable[[str], str | bytes]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / CONFIG
        changed = change(path.read_text())
        path.write_bytes(changed.encode() if isinstance(changed, str) else changed)

    return spoil


def config_without(key: str) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(
            json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key})
        )

    return spoil


def _nothing(_path: Path) -> None: ...


def _swap(entries: dict[str, Any]) -> dict[str, Any]:
    return {
        name.replace("lora_A", "lora_X").replace("lora_B", "lora_A").replace("lora_X", "lora_B"): v
        for name, v in entries.items()
    }


def _overlap(entries: dict[str, Any]) -> None:
    two = names(entries)[1]
    size = entries[two]["data_offsets"][1] - entries[two]["data_offsets"][0]
    entries[two]["data_offsets"] = [0, size]


SPOILT_WEIGHTS = {
    "no bytes": content(lambda _: b""),
    "seven bytes": content(lambda good: good[:7]),
    "eight bytes": content(lambda good: good[:8]),
    "a header of length 0": content(lambda good: bytes(8) + good[8:]),
    "a header longer than the file": content(lambda good: struct.pack("<Q", 10**6) + good[8:]),
    "a header of 2**63 bytes": content(lambda good: struct.pack("<Q", 2**63) + good[8:]),
    "a header of 2**64 - 1 bytes": content(lambda good: b"\xff" * 8 + good[8:]),
    "a header of 2 MiB": content(lambda _: struct.pack("<Q", 2**21) + b" " * 2**22),
    "a header one byte too short": content(
        lambda good: struct.pack("<Q", struct.unpack("<Q", good[:8])[0] - 1) + good[8:]
    ),
    "the last byte missing": content(lambda good: good[:-1]),
    "half of the file": content(lambda good: good[: len(good) // 2]),
    "a byte too many": content(lambda good: good + b"\0"),
    "a header that is no UTF-8": raw_header(lambda _: b'{"\xff\xfe": 1}'),
    "a header that is no JSON": raw_header(lambda text: text[:-1]),
    "a header that is a list": header(lambda _: []),
    "a header that is nested deeply": raw_header(lambda _: '{"a":' * 100_000),
    "no tensors": header(lambda _: {}),
    "no tensors and no data": content(lambda _: joined(b"{}", b"")),
    "a pickle": content(
        lambda _: b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93."
    ),
    "a zip": content(lambda _: b"PK\x03\x04" + bytes(200)),
    "a web page": content(lambda _: b"<!doctype html><title>404</title>" * 20),
    "offsets that overlap": header(_overlap),
    "offsets beyond the end": first(data_offsets=[2**30, 2**30 + 1024]),
    "offsets below 0": first(data_offsets=[-1024, 0]),
    "offsets the wrong way round": first(data_offsets=[1024, 0]),
    "offsets of 2**70": first(data_offsets=[2**70, 2**70 + 1024]),
    "offsets that are floats": first(data_offsets=[0.0, 1024.5]),
    "one offset": first(data_offsets=[0]),
    "integers": first(dtype="I32"),
    "doubles": first(dtype="F64"),
    "a type that nobody knows": first(dtype="F7"),
    "a type that is a number": first(dtype=4),
    "a shape of 2**80 numbers": first(shape=[2**40, 2**40]),
    "a shape whose size wraps round to 0": first(shape=[2**32, 2**32], data_offsets=[0, 0]),
    "a shape with a 0": first(shape=[0, 64], data_offsets=[0, 0]),
    "a shape below 0": first(shape=[-4, -64]),
    "a shape of one dimension": first(shape=[256]),
    "a shape of three dimensions": first(shape=[1, 4, 64]),
    "a shape of floats": first(shape=[4.0, 64.5]),
    "a tensor without a shape": header(lambda e: e[names(e)[0]].pop("shape") and None),
    "a tensor with more to say": first(surprise=1),
    "a tensor twice": raw_header(
        lambda text: text[:-1] + ", " + json.dumps(_first_entry(text))[1:-1] + "}"
    ),
    "a type twice": raw_header(lambda text: text.replace('"dtype"', '"dtype": "I8", "dtype"', 1)),
    "metadata that is no text": header(lambda e: e.update({"__metadata__": {"format": 7}})),
    "a weight that is no number": number("F32", struct.pack("<f", float("nan"))),
    "an infinite weight": number("F32", struct.pack("<f", float("inf"))),
    "an infinite weight in 16 bits": number("F16", b"\x00\xfc"),
    "no number in brain floats": number("BF16", b"\xc1\xff"),
    "A without B": without("lora_B.weight"),
    "B without A": without("lora_A.weight"),
    "A and B swapped": header(_swap),
    "another tensor besides": more("base_model.model.lm_head.weight", [4, 4]),
    "a magnitude of DoRA": more(
        "base_model.model.model.layers.0.mlp.down_proj.lora_magnitude_vector", [64]
    ),
    "a name that climbs out": rename("layers.0", "../../layers.0"),
    "a name of 100,000 letters": rename("layers.0", "layers.0" + "x" * 100_000),
    "a name with a line break": rename("layers.0", "layers.0\n"),
    "an embedding's matrices": rename(".lora_", ".lora_embedding_"),
    "names without PEFT's prefix": rename("base_model.model.", ""),
    "a layer that the model lacks": rename("layers.1", "layers.77"),
    "no weights": instead(WEIGHTS, _nothing),
    "a folder in the weights' place": instead(WEIGHTS, Path.mkdir),
    "a pipe in the weights' place": instead(WEIGHTS, os.mkfifo),
    "a link to nowhere": instead(WEIGHTS, lambda path: path.symlink_to("nowhere")),
    "a link to an endless device": instead(WEIGHTS, lambda path: path.symlink_to("/dev/zero")),
}

SPOILT_CONFIGS = {
    "no configuration": instead(CONFIG, _nothing),
    "a folder in the configuration's place": instead(CONFIG, Path.mkdir),
    "a pipe in the configuration's place": instead(CONFIG, os.mkfifo),
    "an empty configuration": config_text(lambda _: ""),
    "a configuration that is no UTF-8": config_text(lambda _: b'{"peft_type": "\xff"}'),
    "a configuration that is no JSON": config_text(lambda text: text[:-3]),
    "a configuration that is a list": config_text(lambda text: f"[{text}]"),
    "a configuration that is null": config_text(lambda _: "null"),
    "a configuration that is nested deeply": config_text(lambda _: '{"a":' * 100_000),
    "a list that is nested deeply": config_text(
        lambda text: _with(text, f"{'[' * 900}{']' * 900}")
    ),
    "a configuration of 2 MiB": config_text(lambda text: text + " " * 2**21),
    "a rank of 5,000 digits": config_text(lambda text: _with(text, "9" * 5000)),
    "a rank that is told twice": config_text(lambda text: text.replace("{", '{"r": 8, ', 1)),
    "a rank of 10**30": config(r=10**30),
    "a rank of 0": config(r=0),
    "a rank below 0": config(r=-4),
    "a rank that is true": config(r=True),
    "a rank that is text": config(r="4"),
    "a rank that is a fraction": config(r=4.5),
    "a rank that the weights do not have": config(r=8),
    "no rank": config_without("r"),
    "an alpha that is no number": config(lora_alpha=float("nan")),
    "an infinite alpha": config_text(lambda text: _with(text, "1e999", "lora_alpha")),
    "an alpha of 400 digits": config(lora_alpha=10**400),
    "an alpha that is text": config(lora_alpha="8"),
    "no alpha": config_without("lora_alpha"),
    "no type": config_without("peft_type"),
    "another type": config(peft_type="PREFIX_TUNING"),
    "another task": config(task_type="SEQ_CLS"),
    "targets by an expression": config(target_modules=".*"),
    "all linear layers": config(target_modules="all-linear"),
    "an expression among the targets": config(target_modules=["(a+)+$"]),
    "no targets": config(target_modules=[]),
    "targets that are numbers": config(target_modules=[1, 2]),
    "targets that leave weights out": config(target_modules=["q_proj"]),
    "PiSSA, which changes the base": config(init_lora_weights="pissa"),
    "OLoRA, which changes the base": config(init_lora_weights="olora"),
    "CorDA, which reads a file": config(
        init_lora_weights="corda", corda_config={"cache_file": "/x"}
    ),
    "EVA": config(init_lora_weights="eva", eva_config={"rho": 2.0}),
    "LoftQ": config(init_lora_weights="loftq", loftq_config={"loftq_bits": 4}),
    "DoRA without magnitudes": config(use_dora=True),
    "layers that are repeated": config(layer_replication=[[0, 2], [0, 2]]),
    "modules to save": config(modules_to_save=["lm_head"]),
    "trained biases": config(bias="all"),
    "biases of its own": config(lora_bias=True),
    "a Megatron configuration": config(megatron_config={"a": 1}),
    "a Megatron core to import": config(megatron_core="os"),
    "a library to import": config(auto_mapping={"parent_library": "os", "base_model_class": "x"}),
    "ranks by an expression": config(rank_pattern={".*(a+)+$": 4}),
    "a rank of 0 for some": config(rank_pattern={"q_proj": 0}),
    "ranks that some weights do not have": config(rank_pattern={"down_proj": 16}),
    "an alpha for some that is no number": config(alpha_pattern={"q_proj": float("nan")}),
    "only some layers": config(layers_to_transform=[0]),
    "modules left out": config(exclude_modules=["down_proj"]),
    "trained tokens": config(trainable_token_indices=[1, 2]),
    "parameters as targets": config(target_parameters=["embed_tokens.weight"]),
    "activated by tokens": config(alora_invocation_tokens=[1, 2]),
    "QALoRA": config(use_qalora=True),
    "a key that nobody knows": config(something_new={"a": 1}),
}


def _first_entry(text: str) -> dict[str, Any]:
    entries = json.loads(text)
    name = names(entries)[0]
    return {name: entries[name]}


def _with(text: str, value: str, key: str = "r") -> str:
    """The configuration with a value that `json.dumps` would not write."""
    entries = json.loads(text)
    entries[key] = "@"
    return json.dumps(entries).replace('"@"', value)


MALFORMED = [Malformed(what, spoil) for what, spoil in (SPOILT_WEIGHTS | SPOILT_CONFIGS).items()]
