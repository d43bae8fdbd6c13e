"""Which other back-ends are here: llama.cpp as a library, vLLM and Ollama as servers.

One that is missing is a problem only where it is the configured one. Loads none of them.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from importlib.util import find_spec

import httpx

from rune_engine.config import RuneConfig
from rune_engine.models.probing import Check, CheckStatus

_SECONDS = 5.0
_IMPORT_SECONDS = 120.0
_LLAMA_VERSION = "import llama_cpp; print(llama_cpp.__version__)"


async def back_end_checks(config: RuneConfig) -> list[Check]:
    """One line each."""
    return [
        await _llama(config),
        await _server(
            config,
            "vllm",
            f"{config.serving.vllm_url}/version",
            "Start one with `rune vllm serve`, or set RUNE_SERVING__VLLM_URL.",
        ),
        await _server(
            config,
            "ollama",
            f"{config.serving.ollama_url}/api/version",
            "Start it with `ollama serve`, or set RUNE_SERVING__OLLAMA_URL.",
        ),
    ]


def _absent(config: RuneConfig, backend: str) -> CheckStatus:
    chosen = config.serving.backend
    if chosen == "auto" and config.base_model.endswith(".gguf"):
        chosen = "llama"
    return "problem" if chosen == backend else "warning"


async def _llama(config: RuneConfig) -> Check:
    name, absent = "llama.cpp", _absent(config, "llama")
    step = 'Install it with: pip install "rune-mcp[llama]"'
    if find_spec("llama_cpp") is None:
        return Check(name=name, status=absent, detail="not installed", next_step=step)
    # In a process of its own: native code that does not suit the processor dies.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _LLAMA_VERSION), stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _IMPORT_SECONDS)
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
    if process.returncode == 0:
        version = said.decode().strip()
        return Check(name=name, status="good", detail=f"llama-cpp-python {version}")
    detail = f"llama-cpp-python is installed and does not load (status {process.returncode})"
    step = "Build it here: pip install --force-reinstall --no-binary :all: llama-cpp-python"
    return Check(name=name, status=absent, detail=detail, next_step=step)


async def _server(config: RuneConfig, backend: str, url: str, step: str) -> Check:
    """Whether a server answers at `url` with its version."""
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
            answer = await client.get(url)
        answer.raise_for_status()
        version = str(answer.json().get("version", "of an unknown version"))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError) as error:
        detail = f"no server answers at {url} ({type(error).__name__})"
        status = _absent(config, backend)
        return Check(name=backend, status=status, detail=detail, next_step=step)
    return Check(name=backend, status="good", detail=f"version {version} answers at {url}")
