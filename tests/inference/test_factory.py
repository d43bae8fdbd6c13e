"""Which back-end a base model's name chooses, and that choosing costs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from inference_support import ask

from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import BaseModelNotFoundError
from rune_engine.inference.factory import ProviderPool, create_provider
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.inference.transformers import TransformersProvider
from rune_engine.inference.vllm.provider import VllmProvider


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.json"
    path.write_text('[{"contains": "", "answers": ["hello"]}]')
    return path


def test_a_script_is_served_by_the_scripted_back_end(config: RuneConfig, script: Path) -> None:
    assert isinstance(create_provider(f"scripted:{script}", config), ScriptedProvider)


def test_a_model_folder_is_served_by_transformers(config: RuneConfig, tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    provider = create_provider(str(folder), config)
    assert isinstance(provider, TransformersProvider)
    assert provider.base_model_id == "my-model"
    assert not provider.status().loaded


def test_a_model_folder_is_served_by_vllm_where_that_is_set(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    config = load_config(home=tmp_path / "home", serving={"backend": "vllm"})
    provider = create_provider(str(folder), config)
    assert isinstance(provider, VllmProvider)
    assert provider.base_model_id == "my-model"
    assert not provider.status().loaded
    assert not config.home.exists()


def test_a_scripted_model_folder_is_a_base_model_of_its_own(
    config: RuneConfig, script: Path
) -> None:
    (script.parent / "config.json").write_text('{"model_type": "scripted"}')
    provider = create_provider(str(script.parent), config)
    assert isinstance(provider, ScriptedProvider)
    assert provider.base_model_id == script.parent.name


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "scripted:/no/such/file"])
def test_what_is_not_there_is_named_with_what_is(config: RuneConfig, name: str) -> None:
    with pytest.raises(BaseModelNotFoundError, match="Shipped with Rune") as raised:
        create_provider(name, config)
    assert name in raised.value.message


async def test_the_pool_makes_one_provider_a_base_model(tmp_path: Path, script: Path) -> None:
    name = f"scripted:{script}"
    pool = ProviderPool(load_config(home=tmp_path, base_model=name))
    provider = pool.get()
    assert pool.get(name) is provider
    assert [status.name for status in pool.statuses()] == ["scripted"]
    await pool.close_all()
    assert pool.statuses() == []
    assert (await pool.get().generate([ask("x")]))[0].text == "hello"


def test_the_engine_s_side_imports_no_torch() -> None:
    code = (
        "import sys, rune_engine.inference.factory, rune_engine.inference.worker, "
        "rune_engine.agent.graph\n"
        "heavy = {'torch', 'transformers', 'peft', 'langgraph', 'httpx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
