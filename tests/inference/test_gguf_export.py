"""PEFT and Transformers folders as GGUF: what is written, what is refused, where it is kept."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from inference_support import BASE_MODEL_ID
from llama_support import edit_json, save_adapter

from rune_engine.errors import InvalidInputError
from rune_engine.gguf.cache import GgufCache, forget_adapters
from rune_engine.gguf.reading import read
from rune_engine.inference.provider import AdapterRef, GenerationRequest

pytest.importorskip("llama_cpp")
pytest.importorskip("torch")

from rune_engine.gguf import export
from rune_engine.gguf.adapters import export_adapter
from rune_engine.gguf.bases import export_base
from rune_engine.gguf.checks import check_adapter, check_base
from rune_engine.inference.llama_native import NativeModel
from rune_engine.inference.llama_text import LlamaText

CHARACTERS = "abcXYZ 019_-+=(){}[]'\"\n\r\t.,:;éüßñ漢字かなабв🙂🚀\u0301\u00a0\u200b½Ⅷ٣ﬁ"
WORDS = [
    "def ",
    "return",
    "    ",
    "it's",
    "I'LL",
    "\r\n\r\n",
    "   \n",
    "1234",
    "<|im_end|>",
    "e\u0301",
]


def out_of(adapter: AdapterRef) -> export.Exported:
    return export.Exported(adapter.id, adapter.path, adapter.sha256, adapter.base_model_id)


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_tokens_are_those_of_the_transformers_tokenizer(
    base_folder: Path, tmp_path: Path, precision: Any
) -> None:
    """Two hundred texts with whatever splits words, forms characters or spells a special token."""
    from transformers import AutoTokenizer

    file = tmp_path / "base.gguf"
    export_base(base_folder, file, base_model_id=BASE_MODEL_ID, precision=precision)
    text = LlamaText(NativeModel(file), check_base(file))
    tokenizer: Any = AutoTokenizer.from_pretrained(base_folder)
    chance = random.Random(0)
    for _ in range(200):
        parts = chance.choices([*CHARACTERS, *WORDS], k=chance.randint(1, 60))
        prompt = "".join(parts)
        tokens = text.tokens(GenerationRequest(prompt=prompt))
        assert tokens == tokenizer(prompt, add_special_tokens=False)["input_ids"], prompt
        assert text.text(tokens) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_a_base_model_in_many_files_and_in_bfloat16_is_written_the_same(
    base_folder: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.bfloat16)
    files = []
    for shards in ("1GB", "50KB"):
        folder = tmp_path / shards
        shutil.copytree(base_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        model.save_pretrained(folder, max_shard_size=shards)
        files.append(tmp_path / f"{shards}.gguf")
        export_base(folder, files[-1], base_model_id=BASE_MODEL_ID, precision="bfloat16")
    assert len(list((tmp_path / "50KB").glob("*.safetensors"))) > 2
    one, many = (read(file) for file in files)
    assert one.tensors.keys() == many.tensors.keys()
    content = [file.read_bytes() for file in files]
    for name, tensor in one.tensors.items():
        other = many.tensors[name]
        assert (
            content[0][tensor.offset :][: tensor.size] == content[1][other.offset :][: other.size]
        )


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("config.json", {"model_type": "llama"}, "architecture"),
        ("config.json", {"use_sliding_window": True}, "sliding window"),
        ("config.json", {"rope_parameters": {"rope_type": "yarn"}}, "rotary"),
        ("config.json", {"hidden_act": "gelu"}, "activation"),
        ("tokenizer.json", {"normalizer": None}, "NFC"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "ByteLevel"}}, "split"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, "BPE"),
        ("tokenizer_config.json", {"add_bos_token": True}, "begins every text"),
    ],
)
def test_what_llama_cpp_would_run_wrongly_is_refused_with_the_reason(
    base_folder: Path, tmp_path: Path, file: str, change: dict[str, Any], why: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base_folder, folder)
    edit_json(folder / file, lambda told: told | change)
    with pytest.raises(InvalidInputError, match=why):
        export_base(folder, tmp_path / "base.gguf", base_model_id="x")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "embeddings"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "IA3"}, "LoRA"),
        ({"r": 3}, "rank"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
        ({"rank_pattern": {"(": 4}}, "pattern"),
    ],
)
def test_an_adapter_that_gguf_cannot_say_is_refused_with_the_reason(
    adapter_a: AdapterRef, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(adapter_a.path, folder)
    edit_json(folder / "adapter_config.json", lambda told: told | change)
    with pytest.raises(InvalidInputError, match=why):
        export_adapter(folder, tmp_path / "x.gguf", adapter_id="a", sha256="0", base_model_id="x")
    assert list(tmp_path.iterdir()) == [folder]


def test_dora_and_embeddings_as_peft_saves_them_are_refused(
    base_folder: Path, tmp_path: Path
) -> None:
    dora = save_adapter(base_folder, tmp_path / "dora", 1, use_dora=True)
    with pytest.raises(InvalidInputError, match="DoRA"):
        export.to_gguf(out_of(dora), tmp_path / "dora.gguf")
    embedded = save_adapter(base_folder, tmp_path / "e", 1, target_modules=["embed_tokens"])
    with pytest.raises(InvalidInputError, match="embed"):
        export.to_gguf(out_of(embedded), tmp_path / "embedded.gguf")


def test_an_adapter_is_exported_for_each_program(
    base_folder: Path, adapter_a: AdapterRef, tmp_path: Path
) -> None:
    adapter = out_of(adapter_a)
    export.to_gguf(adapter, tmp_path / "a.gguf")
    export.to_peft(adapter, tmp_path / "peft")
    export.to_ollama(adapter, base_folder, tmp_path / "ollama")
    export.to_ollama(adapter, base_folder, tmp_path / "merged", merged=True)
    base = check_base(tmp_path / "ollama" / "base.gguf")
    ids = {"base_model_id": BASE_MODEL_ID, "sha256": adapter_a.sha256}
    check_adapter(tmp_path / "a.gguf", base, **ids)
    check_adapter(tmp_path / "ollama" / "adapter.gguf", base, **ids)
    check_base(tmp_path / "merged" / "model.gguf")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        written = (tmp_path / "peft" / name).read_bytes()
        assert written == (adapter_a.path / name).read_bytes()
    modelfile = (tmp_path / "ollama" / "Modelfile").read_text(encoding="utf-8")
    assert "FROM ./base.gguf\nADAPTER ./adapter.gguf\n" in modelfile
    assert 'PARAMETER stop "<|im_end|>"' in modelfile
    assert "<|im_start|>{{ .Role }}\n" in modelfile
    assert "FROM ./model.gguf" in (tmp_path / "merged" / "Modelfile").read_text(encoding="utf-8")
    for write in (export.to_gguf, export.to_peft):
        with pytest.raises(InvalidInputError, match="exists already"):
            write(adapter, tmp_path / "a.gguf")


def test_a_failed_export_leaves_nothing(
    base_folder: Path, adapter_a: AdapterRef, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(base_folder, base)
    (base / "tokenizer.json").unlink()
    with pytest.raises(InvalidInputError, match="tokenizer"):
        export.to_ollama(out_of(adapter_a), base, tmp_path / "out")
    with pytest.raises(InvalidInputError, match="no folder"):
        export.to_gguf(out_of(adapter_a), tmp_path / "missing" / "a.gguf")
    assert list(tmp_path.iterdir()) == [base]


def test_the_cache_follows_content_and_forgets_on_demand(base_folder: Path, tmp_path: Path) -> None:
    cache = GgufCache(tmp_path / "gguf")
    config = json.dumps({"r": 4}).encode()
    paths = [cache.adapter("a" * 64, config), cache.adapter("a" * 64, b"{}")]
    paths.append(cache.adapter("b" * 64, config))
    assert len(set(paths)) == 3
    for path in paths:
        cache.make_adapter(path, lambda target: target.touch() or None)
    assert forget_adapters(tmp_path / "gguf", ["a" * 64]) == sorted(p.name for p in paths[:2])
    assert [path.exists() for path in paths] == [False, False, True]
    folder = tmp_path / "base"
    shutil.copytree(base_folder, folder)
    first = cache.base(folder, BASE_MODEL_ID, "auto")
    cache.make_base(first, lambda target: target.touch() or None)
    edit_json(folder / "config.json", lambda told: told | {"rms_norm_eps": 1e-5})
    second = cache.base(folder, BASE_MODEL_ID, "auto")
    cache.make_base(second, lambda target: target.touch() or None)
    assert (first.exists(), second.exists()) == (False, True)
