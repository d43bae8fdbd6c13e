"""A hub with a few small models, and `rune` as a process that talks to it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import base_models
from rune_engine.model_store.names import parse_or_refuse
from rune_engine.model_store.pull import pull
from rune_engine.model_store.store import PulledModel

SERVER = Path(__file__).with_name("hub_server.py")
MODEL = "acme/tiny-coder"
WEIGHTS = "model.safetensors"
SECONDS = 120


@dataclass(frozen=True)
class Hub:
    """The hub, and the home of the `rune` that pulls from it."""

    folder: Path
    url: str
    home: Path

    @property
    def models(self) -> Path:
        return self.home / "models"

    def add(self, name: str, **files: bytes) -> Path:
        """A model with these files; `_` in a keyword stands for the dot of the name's ending."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            stem, _, ending = file.rpartition("_")
            (folder / f"{stem}.{ending}").write_bytes(data)
        return folder

    def fail(self, **faults: Any) -> None:
        (self.folder / "faults.json").write_text(json.dumps(faults))

    def requests(self) -> list[dict[str, Any]]:
        file = self.folder / "requests.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
        return {
            **kept,
            "PATH": os.environ["PATH"],
            "HOME": str(self.home.parent),
            "RUNE_HOME": str(self.home),
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.home.parent / "hf"),
            "COLUMNS": "300",
            **more,
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rune_engine.cli.main", "model", *arguments]

    def pull(self, name: str, **options: Any) -> PulledModel:
        """As `rune model pull` does, in this process."""
        return pull(self.models, parse_or_refuse(name), **options)

    def leave_part(self, file: Path, data: bytes) -> None:
        """As an interrupted pull of that file would."""
        folder = self.models / ".partial" / MODEL.replace("/", "--")
        folder.mkdir(parents=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        (folder / f"{digest}.part").write_bytes(data)

    def rune(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "hub"
    folder.mkdir()
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        # What a process sets that starts with HF_ENDPOINT.
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield Hub(folder, url, tmp_path / "home")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
def tiny(hub: Hub) -> Path:
    """A model that Transformers would load, beside files that nobody should download."""
    folder = hub.folder / MODEL
    shutil.copytree(Path(base_models.describe("rune-nano").path), folder)
    (folder / WEIGHTS).write_bytes(random.Random(7).randbytes(3_000_000))
    for name in ("pytorch_model.bin", "modeling_tiny.py", "training_args.pt"):
        (folder / name).write_bytes(b"never")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/other"}')
    return folder
