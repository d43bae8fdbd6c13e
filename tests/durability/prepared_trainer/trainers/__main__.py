"""Leaves the adapter that lies prepared in the base model's folder, as the job's seed chooses."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

from trainer_protocol import emit, end_with_stdin

PREPARED = 8


def main() -> None:
    threading.Thread(target=end_with_stdin, daemon=True).start()
    job = json.loads(Path(sys.argv[1]).read_bytes())
    model, output = Path(job["base_model_path"]), Path(job["output_path"])
    with (model / "trained").open("a", encoding="utf-8") as log:
        log.write(f"{job['job_id']}\n")
    emit("progress", fraction=0.5, message="half way")
    prepared = model / f"{job['seed'] % PREPARED}.safetensors"
    shutil.copyfile(prepared, output / "adapter_model.safetensors")
    shutil.copyfile(model / "adapter_config.json", output / "adapter_config.json")
    examples = len(Path(job["trajectories_path"]).read_text(encoding="utf-8").splitlines())
    emit(
        "result",
        rank=2,
        examples=examples,
        steps=1,
        training_loss=0.5,
        kept_back_loss=None,
        kept_back_loss_before=None,
        delta_w_norm=1.0,
        seconds=0.1,
        peak_memory_bytes=1,
    )


if __name__ == "__main__":
    main()
