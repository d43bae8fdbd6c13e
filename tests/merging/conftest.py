from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import closed_form_support as support
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model's folder that nothing changes."""
    return support.make_base(tmp_path_factory.mktemp("merging") / "tiny")
