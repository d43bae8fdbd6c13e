"""GGUF files that nobody may give to native code: a catalogue, each made of a good file.

`ANY` spoils whatever file, `BASES` base models, `ADAPTERS` adapters.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rune_engine.gguf.reading import ARRAY, F32, STRING, U32, read

_CODES = {0: "B", 2: "H", U32: "I", 5: "i", F32: "f", 7: "?", 10: "Q", 12: "d"}
HUGE = 2**63 - 1


@dataclass
class Draft:
    """A GGUF file as its parts, which need not fit together."""

    keys: list[tuple[str, int, Any]]
    tensors: list[tuple[str, tuple[int, ...], int, bytes]]
    within: dict[str, int] = field(default_factory=dict)
    magic: bytes = b"GGUF"
    version: int = 3
    key_count: int | None = None
    tensor_count: int | None = None
    shift: int = 0
    lie: int = 0

    @classmethod
    def of(cls, path: Path) -> Draft:
        good, data = read(path), path.read_bytes()
        keys = [(name, good.types[name], value) for name, value in good.keys.items()]
        tensors = [
            (t.name, t.shape, t.type, data[t.offset : t.offset + t.size])
            for t in good.tensors.values()
        ]
        return cls(keys, tensors, dict(good.arrays))

    def set(
        self, name: str, value: Any, kind: int | None = None, within: int | None = None
    ) -> None:
        old = {key: kind for key, kind, _ in self.keys}
        self.keys = [key for key in self.keys if key[0] != name]
        self.keys.append((name, old.get(name, STRING) if kind is None else kind, value))
        if within is not None:
            self.within[name] = within

    def drop(self, name: str) -> None:
        self.keys = [key for key in self.keys if key[0] != name]

    def change(self, index: int, **parts: Any) -> None:
        """Replace the name, the shape, the type or the data of a tensor."""
        names = ("name", "shape", "type", "data")
        old = dict(zip(names, self.tensors[index], strict=True)) | parts
        self.tensors[index] = (old["name"], old["shape"], old["type"], old["data"])

    def index(self, ending: str) -> int:
        return next(n for n, tensor in enumerate(self.tensors) if tensor[0].endswith(ending))

    def to_bytes(self) -> bytes:
        keys = len(self.keys) if self.key_count is None else self.key_count
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        head = self.magic + struct.pack("<IQQ", self.version, tensors, keys)
        head += b"".join(self._key(*key) for key in self.keys)
        data = b""
        for name, shape, kind, raw in self.tensors:
            offset = (len(data) + self.shift) % 2**64
            head += self._text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            head += struct.pack("<IQ", kind, offset)
            data += raw + bytes(-len(raw) % 32)
        return head + bytes(-len(head) % 32) + data

    def _key(self, name: str, kind: int, value: Any) -> bytes:
        head = self._text(name) + struct.pack("<I", kind)
        if kind == STRING:
            return head + self._text(value, self.lie)
        if kind == ARRAY:
            inner = self.within[name]
            head += struct.pack("<IQ", inner, len(value))
            if inner == STRING:
                return head + b"".join(map(self._text, value))
            return head + struct.pack(f"<{len(value)}{_CODES.get(inner, 'B')}", *value)
        return head + (struct.pack(f"<{_CODES[kind]}", value) if kind in _CODES else bytes(8))

    def _text(self, text: str | bytes, lie: int = 0) -> bytes:
        raw = text if isinstance(text, bytes) else text.encode()
        return struct.pack("<Q", len(raw) + lie) + raw


Spoil = Callable[[Draft], bytes | None]


def spoilt(spoil: Spoil, good: Path) -> bytes:
    """The file that `spoil` makes of a good one."""
    draft = Draft.of(good)
    made = spoil(draft)
    return draft.to_bytes() if made is None else made


def setting(**values: Any) -> Spoil:
    """Spoils by setting parts of the draft."""

    def spoil(draft: Draft) -> None:
        for name, value in values.items():
            setattr(draft, name, value)

    return spoil


def key(name: str, value: Any, kind: int | None = None, within: int | None = None) -> Spoil:
    return lambda draft: draft.set(name, value, kind, within)


def without(name: str) -> Spoil:
    return lambda draft: draft.drop(name)


def tensor(index: int | str, **parts: Any) -> Spoil:
    def spoil(draft: Draft) -> None:
        draft.change(draft.index(index) if isinstance(index, str) else index, **parts)

    return spoil


def number(value: float) -> Spoil:
    """Puts a number into the first tensor."""

    def spoil(draft: Draft) -> None:
        raw = draft.tensors[0][3]
        draft.change(0, data=struct.pack("<f", value) + raw[4:])

    return spoil


def cut(share: float) -> Spoil:
    def spoil(draft: Draft) -> bytes:
        whole = draft.to_bytes()
        return whole[: int(len(whole) * share)]

    return spoil


def _twice(draft: Draft) -> None:
    draft.change(1, name=draft.tensors[0][0])


def _key_twice(draft: Draft) -> None:
    draft.keys.append(draft.keys[0])


def _last_missing(draft: Draft) -> None:
    draft.tensors.pop()


def _transposed(draft: Draft) -> None:
    at = draft.index(".lora_a")
    draft.change(at, shape=draft.tensors[at][1][::-1])


def _fewer_types(draft: Draft) -> None:
    types = {name: value for name, _, value in draft.keys}["tokenizer.ggml.token_type"]
    draft.set("tokenizer.ggml.token_type", types[:-1])


ANY: dict[str, Spoil] = {
    "empty": lambda _: b"",
    "four bytes": lambda _: b"GGUF",
    "cut in the header": cut(0.01),
    "cut in the tensors": cut(0.9),
    "wrong magic": setting(magic=b"GGML"),
    "version 1": setting(version=1),
    "version of the other byte order": setting(version=3 << 24),
    "more keys than it has": setting(key_count=4000),
    "2^63 keys": setting(key_count=HUGE),
    "2^63 tensors": setting(tensor_count=HUGE),
    "strings longer than said": setting(lie=-1),
    "strings longer than the file": setting(lie=2**40),
    "strings longer than memory": setting(lie=HUGE),
    "a key given twice": _key_twice,
    "an unknown value type": key("general.name", 0, kind=99),
    "arrays in an array": key("general.name", [], kind=ARRAY, within=ARRAY),
    "a string that is not UTF-8": key("general.name", b"\xff\xfe"),
    "an alignment of nothing": key("general.alignment", 0, kind=U32),
    "an alignment of three": key("general.alignment", 3, kind=U32),
    "an alignment that is text": key("general.alignment", "32"),
    "no architecture": without("general.architecture"),
    "an architecture that is a number": key("general.architecture", 2, kind=U32),
    "tensors outside of the file": setting(shift=2**40),
    "tensors before the file": setting(shift=2**64 - 32),
    "a tensor given twice": _twice,
    "a tensor's name too long": tensor(0, name="x" * 200),
    "a tensor without a name": tensor(0, name=""),
    "a tensor of no dimension": tensor(0, shape=()),
    "a tensor of five dimensions": tensor(0, shape=(1, 1, 1, 1, 1)),
    "a tensor of nothing": tensor(0, shape=(0, 8)),
    "a tensor of 2^126 elements": tensor(0, shape=(HUGE, HUGE)),
    "an unknown tensor type": tensor(0, type=4),
    "a tensor of integers": tensor(0, type=26),
    "a tensor too many": lambda draft: draft.tensors.append(("stray", (32,), 0, bytes(128))),
    "a tensor too few": _last_missing,
}
BASES: dict[str, Spoil] = {
    **ANY,
    "not a number": number(float("nan")),
    "an infinite number": number(float("inf")),
    "an adapter": key("general.type", "adapter"),
    "another architecture": key("general.architecture", "no-such-model"),
    "no layers": key("qwen2.block_count", 0),
    "more layers than it has": key("qwen2.block_count", 3),
    "a billion layers": key("qwen2.block_count", 10**9),
    "a count that is text": key("qwen2.block_count", "2", kind=STRING),
    "no heads": key("qwen2.attention.head_count", 0),
    "heads that do not divide": key("qwen2.attention.head_count", 3),
    "another width": key("qwen2.embedding_length", 128),
    "an epsilon of nothing": key("qwen2.attention.layer_norm_rms_epsilon", 0.0),
    "no tokens": key("tokenizer.ggml.tokens", []),
    "tokens that are numbers": key("tokenizer.ggml.tokens", [1, 2], within=U32),
    "fewer token types than tokens": _fewer_types,
    "no merges": without("tokenizer.ggml.merges"),
    "merges that are none": key("tokenizer.ggml.merges", ["ab"]),
    "an end that is no token": key("tokenizer.ggml.eos_token_id", 10**6),
    "a vector of another length": tensor("attn_norm.weight", shape=(32,), data=bytes(128)),
    "a matrix of another shape": tensor("attn_k.weight", shape=(64, 16), data=bytes(4096)),
}
ADAPTERS: dict[str, Spoil] = {
    **ANY,
    "not a number": number(float("nan")),
    "an infinite number": number(float("-inf")),
    "another number": number(0.25),
    "a model": key("general.type", "model"),
    "another kind of adapter": key("adapter.type", "control_vector"),
    "another architecture": key("general.architecture", "llama"),
    "another base model": key("rune.base_model.id", "somebody-elses"),
    "no base model": without("rune.base_model.id"),
    "another adapter": key("rune.adapter.sha256", "0" * 64),
    "an alpha that is no number": key("adapter.lora.alpha", float("nan")),
    "an alpha that is an integer": key("adapter.lora.alpha", 0, kind=U32),
    "no alpha": without("adapter.lora.alpha"),
    "only one of a pair": _last_missing,
    "two of one side": tensor(1, name="blk.0.attn_q.weight.lora_c"),
    "a layer that is not there": tensor(0, name="blk.7.attn_q.weight.lora_a"),
    "sides exchanged": _transposed,
    "a vector": tensor(0, shape=(256,)),
}
