"""A tiny random Qwen2 with a hypernetwork that nobody trained: arithmetic and files are tested."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import closed_form_support as support
import torch

from base_models.hypernetworks import FOLDER
from trainers.closed_form import known
from trainers.closed_form.base_files import identity
from trainers.hypernetwork import files
from trainers.hypernetwork import network as networks
from trainers.hypernetwork.settings import HypernetworkSettings


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plain_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model's folder without a hypernetwork, that nothing changes."""
    base = support.make_base(tmp_path_factory.mktemp("hyper") / "tiny")
    known.main(base)
    return base


@pytest.fixture(scope="session")
def base(plain_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one that starts as the closed form, and whose closed form chooses nothing."""
    import shutil

    base = tmp_path_factory.mktemp("hyper") / "tiny"
    shutil.copytree(plain_base, base)
    closed_form = '{"folds": 1, "ridges": [30.0], "strengths": [60.0]}'
    (base / "rune.json").write_text(f'{{"id": "tiny", "closed_form": {closed_form}}}')
    found = known.load([base / known.SHIPPED], identity(base))
    assert found is not None
    settings = HypernetworkSettings(
        base_model_id="tiny",
        targets=("layers.1.mlp.down_proj",),
        width=support.WIDTH,
        outputs=support.HIDDEN,
        epsilon=1e-6,
        known=len(found.rows),
        hidden=16,
        latents=4,
    )
    torch.manual_seed(0)
    files.write(networks.make(settings, found), base / FOLDER, identity(base))
    return base
