"""The llama.cpp back-end: a `.gguf` file, or a folder that is made into one at the first use.

This process never imports llama.cpp or numpy; the model lives in
`python -m rune_engine.inference.llama_worker`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rune_engine.config import ServingSettings
from rune_engine.errors import InvalidInputError
from rune_engine.inference.worker_provider import WorkerProvider


class LlamaProvider(WorkerProvider):
    """Serves one base model; belongs to one event loop.

    Args:
        base_model_id: what adapters for this model carry as their base model.
        model: a `.gguf` file, or a Qwen2 folder that Transformers loads.
        cache: where made GGUF files are kept.
        threads: threads of the worker; 0 is every core.
        worker_idle_seconds: the worker is ended after this long without a call.

    Raises:
        InvalidInputError: llama.cpp does not know the precision.
    """

    name = "llama"

    def __init__(
        self,
        base_model_id: str,
        model: Path,
        cache: Path,
        threads: int = 0,
        worker_idle_seconds: float = 300.0,
        *,
        serving: ServingSettings | None = None,
    ) -> None:
        serving = serving or ServingSettings()
        if serving.precision == "nf4":
            raise InvalidInputError(
                "llama.cpp does not know the precision nf4.",
                next_step="Set serving.precision to auto, or serve a quantised .gguf file.",
            )
        command = [sys.executable, "-m", "rune_engine.inference.llama_worker"]
        command += [str(model.absolute()), "--base-model-id", base_model_id]
        command += ["--cache", str(cache.absolute()), "--threads", str(threads)]
        command += ["--adapter-memory", str(serving.adapter_memory_bytes)]
        if serving.context is not None:
            command += ["--context", str(serving.context)]
        if serving.precision != "auto":
            command += ["--precision", serving.precision]
        super().__init__(base_model_id, command, "llama", worker_idle_seconds)
