"""The Transformers back-end: a folder that Transformers loads, LoRA adapters on it.

This process never imports torch; the model lives in `python -m rune_engine.inference.worker`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rune_engine.config import ServingSettings
from rune_engine.inference.worker_provider import WorkerProvider


class TransformersProvider(WorkerProvider):
    """Serves one base model folder; belongs to one event loop.

    Args:
        base_model_id: what adapters for this model carry as their base model.
        model_path: a folder that Transformers loads.
        threads: torch threads of the worker; 0 is every core.
        worker_idle_seconds: the worker is ended after this long without a call.
        serving: precision, context, and what adapters and conversations may take.
    """

    name = "transformers"

    def __init__(
        self,
        base_model_id: str,
        model_path: Path,
        threads: int = 0,
        worker_idle_seconds: float = 300.0,
        serving: ServingSettings | None = None,
    ) -> None:
        serving = serving or ServingSettings()
        command = [
            *(sys.executable, "-m", "rune_engine.inference.worker", str(model_path.absolute())),
            *("--threads", str(threads), "--precision", serving.precision),
            *("--adapter-bytes", str(serving.adapter_memory_bytes)),
            *("--prefix-bytes", str(serving.prefix_memory_bytes)),
            *(("--context", str(serving.context)) if serving.context else ()),
        ]
        extra = "qlora" if serving.precision == "nf4" else "torch"
        super().__init__(base_model_id, command, extra, worker_idle_seconds)
