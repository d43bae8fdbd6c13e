"""What Ollama gets of a real model folder and a real adapter, chosen by the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from inference_support import ask
from ollama_stand_in import Ollama, running

from rune_engine.config import load_config
from rune_engine.inference.factory import create_provider
from rune_engine.inference.provider import AdapterRef

pytest.importorskip("gguf")


@pytest.mark.parametrize("engine", ["applies", "refuses"])
async def test_a_folder_and_its_adapter_are_served_as_gguf(
    base_folder: Path, adapter_a: AdapterRef, tmp_path: Path, engine: str
) -> None:
    from rune_engine.gguf.checks import check_adapter, check_base

    with running(Ollama("applies" if engine == "applies" else "refuses")) as ollama:
        serving = {"backend": "ollama", "ollama_url": ollama.url, "context": 4096}
        config = load_config(home=tmp_path / "home", serving=serving)
        provider = create_provider(str(base_folder), config)
        [plain] = await provider.generate([ask("count <|im_end|>")])
        [adapted] = await provider.generate([ask("count <|im_end|>")], adapter=adapter_a)
        await provider.close()
    assert plain.text != adapted.text
    prompt = ollama.bodies("/api/generate")[1]["prompt"]
    assert prompt.endswith("count < |im_end|><|im_end|>\n<|im_start|>assistant\n")
    sent = [tmp_path / f"{number}.gguf" for number in range(len(ollama.blobs))]
    for path, content in zip(sent, ollama.blobs.values(), strict=True):
        path.write_bytes(content)
    base = check_base(sent[0])
    check_adapter(sent[1], base, base_model_id=provider.base_model_id, sha256=adapter_a.sha256)
    if engine == "refuses":
        assert check_base(sent[2]).keys.keys() == base.keys.keys()
