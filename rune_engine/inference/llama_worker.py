"""The model worker of llama.cpp: `python -m rune_engine.inference.llama_worker MODEL ...`.

The same process as `worker.py` with another model in it. Importing this module loads no library.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rune_engine.inference.worker import serve
from rune_engine.inference.worker_model import WorkerModel


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model and serve it."""
    parser = argparse.ArgumentParser(description="Rune's model worker, llama.cpp.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--base-model-id", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--context", type=int, default=None)
    parser.add_argument("--adapter-memory", type=int, default=1024**3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=None)
    options = parser.parse_args(argv)

    def load() -> WorkerModel:
        from rune_engine.inference.llama_model import LlamaModel, LlamaSettings

        settings = LlamaSettings(
            base_model_id=options.base_model_id,
            cache=options.cache,
            threads=options.threads or os.cpu_count() or 1,
            context=options.context,
            adapter_memory_bytes=options.adapter_memory,
            precision=options.precision,
        )
        return LlamaModel(options.model, settings)

    serve(load)


if __name__ == "__main__":
    main()
