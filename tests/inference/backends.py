"""The back-ends that the contract suite runs over, each made for the same tiny base model.

Whoever adds a back-end adds it here; one that is not installed skips.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from inference_support import BASE_MODEL_ID
from ollama_stand_in import Files, Ollama, render, start
from running_vllm import running_vllm

from rune_engine.config import ServingSettings
from rune_engine.inference.llama import LlamaProvider
from rune_engine.inference.ollama.provider import OllamaProvider
from rune_engine.inference.provider import AdapterRef, InferenceProvider
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.inference.transformers import TransformersProvider
from rune_engine.inference.vllm.provider import VllmProvider

RULES = [
    {"contains": "slow", "answers": ["late"], "delay_seconds": 600},
    {"contains": "count", "answers": ["with adapter a"], "adapter_id": "adapter-a"},
    {"contains": "count", "answers": ["one two three four five six"]},
    {"contains": "", "answers": ["anything else goes here too"]},
]


@dataclass(frozen=True)
class Backend:
    """A provider, and adapters of its base model; the others' weights differ from the first's."""

    provider: InferenceProvider
    adapters: Sequence[AdapterRef]
    has_logprobs: bool = True

    @property
    def adapter(self) -> AdapterRef:
        return self.adapters[0]


def scripted(_base: Path, adapters: Sequence[AdapterRef], scratch: Path) -> Backend:
    script = scratch / "script.json"
    script.write_text(json.dumps(RULES), encoding="utf-8")
    provider = ScriptedProvider(script)
    own = [dataclasses.replace(a, base_model_id=provider.base_model_id) for a in adapters]
    return Backend(provider, own, has_logprobs=False)


def transformers(base: Path, adapters: Sequence[AdapterRef], _scratch: Path) -> Backend:
    return Backend(TransformersProvider(BASE_MODEL_ID, base, 1, 60.0), adapters)


def llama(base: Path, adapters: Sequence[AdapterRef], scratch: Path) -> Backend:
    pytest.importorskip("llama_cpp")
    serving = ServingSettings(context=16_384, precision="float32")
    provider = LlamaProvider(BASE_MODEL_ID, base, scratch / "gguf", 1, 60.0, serving=serving)
    return Backend(provider, adapters)


def vllm(base: Path, adapters: Sequence[AdapterRef], scratch: Path) -> Backend:
    url = running_vllm(base)
    return Backend(VllmProvider(BASE_MODEL_ID, base, url, staging=scratch / "staging"), adapters)


def ollama(_base: Path, adapters: Sequence[AdapterRef], scratch: Path) -> Backend:
    """Against a stand-in of the server: what is held to is our side of its protocol."""
    server = Ollama()
    start(server)
    provider = OllamaProvider(BASE_MODEL_ID, server.url, render, Files(scratch).gguf())
    return Backend(provider, adapters, has_logprobs=False)


BACKENDS: dict[str, Callable[[Path, Sequence[AdapterRef], Path], Backend]] = {
    "scripted": scripted,
    "transformers": transformers,
    "llama": llama,
    "vllm": vllm,
    "ollama": ollama,
}
