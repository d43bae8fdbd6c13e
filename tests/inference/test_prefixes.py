"""Conversations that are kept to go on from, and adapters that are kept in memory."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from test_lora import answers, local_model  # noqa: E402

from rune_engine.errors import AdapterCorruptedError  # noqa: E402
from rune_engine.inference import adapter_files  # noqa: E402
from rune_engine.inference.adapter_files import AdapterReader  # noqa: E402
from rune_engine.inference.key_values import Kept  # noqa: E402
from rune_engine.inference.prefixes import Prefixes, common_prefix  # noqa: E402
from rune_engine.inference.provider import (  # noqa: E402
    AdapterRef,
    ChatMessage,
    GenerationRequest,
)

SIZE = 64


def kept() -> Kept:
    return [(torch.zeros(8), torch.zeros(8))]


def store(budget: int, *conversations: tuple[str | None, list[int]]) -> Prefixes:
    prefixes = Prefixes(budget)
    for key, tokens in conversations:
        prefixes.keep(key, tokens, SIZE, kept)
    return prefixes


def common(prefixes: Prefixes, key: str | None, tokens: list[int]) -> int:
    found = prefixes.find(key, tokens)
    return found[1] if found else 0


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_what_two_lists_begin_with_is_what_comparing_one_by_one_finds(
    one: list[int], other: list[int]
) -> None:
    expected = 0
    while expected < min(len(one), len(other)) and one[expected] == other[expected]:
        expected += 1
    assert common_prefix(one, other) == expected


def test_the_longest_common_prefix_is_found_and_the_last_token_is_read_again() -> None:
    prefixes = store(10 * SIZE, ("a", [1, 2, 3, 4]), ("a", [1, 2, 9]))
    assert common(prefixes, "a", [1, 2, 3, 5]) == 3
    assert common(prefixes, "a", [1, 2, 3, 4]) == 3
    assert common(prefixes, "a", [7]) == 0


def test_nothing_is_shared_between_adapters_or_with_the_base() -> None:
    prefixes = store(10 * SIZE, ("a", [1, 2, 3]), (None, [4, 5, 6]))
    assert common(prefixes, None, [1, 2, 3, 4]) == 0
    assert common(prefixes, "b", [1, 2, 3, 4]) == 0
    assert common(prefixes, "a", [4, 5, 6, 7]) == 0


def test_the_least_recently_used_goes_when_the_bytes_are_used_up() -> None:
    prefixes = store(2 * SIZE, ("a", [1, 1, 1]), ("a", [2, 2, 2]))
    assert common(prefixes, "a", [1, 1, 1, 1]) == 3
    prefixes.keep("a", [3, 3, 3], SIZE, kept)
    assert common(prefixes, "a", [2, 2, 2, 2]) == 0
    assert common(prefixes, "a", [1, 1, 1, 1]) == 3
    prefixes.keep("a", [4, 4, 4], 3 * SIZE, kept)
    assert common(prefixes, "a", [4, 4, 4, 4]) == 0


def test_a_conversation_that_goes_on_takes_the_place_of_its_beginning() -> None:
    prefixes = store(2 * SIZE, ("a", [1, 2]), ("a", [1, 2, 3]), ("a", [1, 2]), ("b", [1, 2]))
    assert common(prefixes, "a", [1, 2, 3, 4]) == 3
    assert common(prefixes, "b", [1, 2, 3, 4]) == 2


def test_the_next_turn_reads_only_what_is_new_and_answers_the_same(
    base_folder: Path, adapter_a: AdapterRef
) -> None:
    with_reuse, without = local_model(base_folder), local_model(base_folder, prefix_bytes=0)
    read = {id(model): 0 for model in (with_reuse, without)}
    for model in (with_reuse, without):
        model._model.register_forward_pre_hook(
            lambda _module, _args, kwargs, model=model: read.update(
                {id(model): read[id(model)] + kwargs["input_ids"].numel()}
            ),
            with_kwargs=True,
        )
    messages = [ChatMessage("user", "write a function that adds two numbers " * 8)]
    for _ in range(3):
        request = GenerationRequest(messages=tuple(messages), max_tokens=8, logprobs=True)
        for adapter in (adapter_a, None):
            [reused] = answers(with_reuse, [(request, adapter)])
            [known] = answers(without, [(request, adapter)])
            assert reused.text == known.text
            assert reused.token_logprobs == pytest.approx(known.token_logprobs, abs=1e-5)
        messages += [ChatMessage("assistant", known.text), ChatMessage("user", "try again")]
    assert read[id(with_reuse)] < 0.6 * read[id(without)]


def test_equal_prompts_that_come_together_are_read_once(base_folder: Path) -> None:
    model = local_model(base_folder, prefix_bytes=0)
    shapes = []
    model._model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    request = GenerationRequest(prompt="def add(a, b):", max_tokens=3)
    one, *others = answers(model, [(request, None)] * 4)
    assert others == [one] * 3
    assert [rows for rows, _ in shapes] == [1, 4, 4]


def test_what_was_checked_is_checked_again_when_its_file_has_changed(
    adapter_a: AdapterRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_files, "_SETTLED_SECONDS", 0.0)
    folder = tmp_path / "adapter"
    shutil.copytree(adapter_a.path, folder)
    adapter = dataclasses.replace(adapter_a, path=folder)
    weights = folder / "adapter_model.safetensors"
    os.utime(weights, (1, 1))
    reader = AdapterReader()
    assert reader.read(adapter).data == reader.read(adapter).data
    time.sleep(0.05)  # longer than a file system's tick
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, (1, 1))
    with pytest.raises(AdapterCorruptedError, match="hash"):
        reader.read(adapter)
