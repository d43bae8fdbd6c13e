"""A trainer that keeps the protocol, trains nothing, and refuses what a file tells it to.

It leaves the adapter that lies in the base model's folder `adapter`. `refuses` there holds methods
and project ids, one a line; `dies` the same of those at which it kills itself. Each start adds a
line to `starts`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

RESULT = {
    "rank": 2,
    "examples": 1,
    "steps": 1,
    "training_loss": 0.5,
    "kept_back_loss": None,
    "kept_back_loss_before": None,
    "delta_w_norm": 1.0,
    "seconds": 0.1,
    "peak_memory_bytes": 1,
}
REFUSAL = {"code": "training_error", "message": "Not here.", "next_step": ""}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path(job["base_model_path"])
    with (folder / "starts").open("a", encoding="utf-8") as starts:
        starts.write(f"{job['method']} {job['project_id']}\n")
    if _named(folder / "dies", job):
        os.kill(os.getpid(), signal.SIGKILL)
    if _named(folder / "refuses", job):
        print(json.dumps({"event": "error", **REFUSAL}))
        return
    shutil.copytree(folder / "adapter", job["output_path"], dirs_exist_ok=True)
    print(json.dumps({"event": "result", **RESULT}))


def _named(file: Path, job: dict[str, Any]) -> bool:
    names = file.read_text(encoding="utf-8").split() if file.is_file() else []
    return job["method"] in names or job["project_id"] in names


main()
