"""Telling numbers that are no numbers by their bytes alone."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rune_engine.tensor_files import DType, all_finite


def value_of(bits: int, dtype: DType) -> float:
    if dtype == "F16":
        return float(struct.unpack("<e", bits.to_bytes(2, "little"))[0])
    wide = bits << 16 if dtype == "BF16" else bits
    return float(struct.unpack("<f", wide.to_bytes(4, "little"))[0])


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_number_of_16_bits_is_told_rightly(dtype: DType) -> None:
    for bits in range(2**16):
        finite = all_finite(memoryview(b"\0\0" + bits.to_bytes(2, "little")), dtype)
        assert finite == math.isfinite(value_of(bits, dtype))


@given(st.lists(st.floats(width=32), max_size=8))
def test_numbers_of_32_bits_are_told_rightly(values: list[float]) -> None:
    packed = struct.pack(f"<{len(values)}f", *values)
    assert all_finite(memoryview(packed), "F32") == all(map(math.isfinite, values))
