"""A real vLLM server for the tests, started once: needs `RUNE_VLLM_PYTHON`, skips without."""

from __future__ import annotations

import atexit
import os
import socket
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from inference_support import BASE_MODEL_ID

from rune_engine.inference.vllm.command import ServerSettings
from rune_engine.inference.vllm.launch import ServerProcess

START_SECONDS = 240.0
MAX_RANK = 8
MAX_CPU_ADAPTERS = 5
SMALL: Mapping[str, str] = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}


def vllm_python() -> str:
    """The Python that has vLLM."""
    python = os.environ.get("RUNE_VLLM_PYTHON", "")
    if not python:
        pytest.skip("RUNE_VLLM_PYTHON names no Python with vLLM")
    return python


def settings_for(base: Path) -> ServerSettings:
    """A small server on a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return ServerSettings(
        python=vllm_python(),
        base_model_id=BASE_MODEL_ID,
        model=base,
        port=port,
        dtype="float32",
        max_adapters=3,
        max_cpu_adapters=MAX_CPU_ADAPTERS,
        max_rank=MAX_RANK,
        extra=("--enforce-eager",),
    )


@cache
def running_vllm(base: Path) -> str:
    """The URL of a server of this base model that lives as long as the tests."""
    settings = settings_for(base)
    folder = tempfile.TemporaryDirectory(prefix="rune-vllm-test-")
    atexit.register(folder.cleanup)
    with mock.patch.dict(os.environ, SMALL):
        server = ServerProcess(settings, Path(folder.name) / "vllm.log")
    atexit.register(server.end)
    server.wait_until_healthy(START_SECONDS)
    return settings.url
