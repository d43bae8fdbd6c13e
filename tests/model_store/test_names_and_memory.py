"""What base models are called, what they need, and what the machine has."""

from __future__ import annotations

import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import base_models
from base_models.gguf_header import BASE_MODEL_ID, read_header
from rune_engine.cgroups import cgroup_cores, cgroup_memory
from rune_engine.config import RuneConfig
from rune_engine.errors import BaseModelCorruptedError, BaseModelNotFoundError, InvalidInputError
from rune_engine.hardware import (
    Hardware,
    amd_accelerators,
    has_fast_bfloat16,
    parse_cpuinfo,
    parse_nvidia_smi,
    probe,
)
from rune_engine.inference.factory import create_provider
from rune_engine.model_store import memory
from rune_engine.model_store.catalogue import CATALOGUE, by_name
from rune_engine.model_store.names import Reference, parse
from rune_engine.model_store.resolve import name_to_keep, resolve, resolve_trainable
from rune_engine.model_store.shapes import shape_of
from rune_engine.settings_file import change_settings

GIB = 1024**3


def machine(free: int, total: int, cores: int = 8, accelerator: int = 0) -> Hardware:
    devices = [{"kind": "nvidia", "name": "GPU", "memory_bytes": accelerator}]
    return Hardware.model_validate(
        {
            "system": "Linux", "cpu": "CPU", "cores": cores, "cpu_features": [],
            "memory_bytes": total, "memory_available_bytes": free, "memory_limited": False,
            "disk_free_bytes": 0, "accelerators": devices if accelerator else [],
        }
    )  # fmt: skip


def gguf_file(path: Path, **keys: str | int | list[str]) -> Path:
    """A GGUF file of nothing but a header; `__` in a keyword stands for a dot."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    body = b""
    for key, value in keys.items():
        body += text(key.replace("__", "."))
        if isinstance(value, str):
            body += struct.pack("<I", 8) + text(value)
        elif isinstance(value, int):
            body += struct.pack("<II", 4, value)
        else:
            body += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + body)
    return path


def test_the_catalogue_has_the_published_numbers_of_parameters() -> None:
    assert {model.name: model.shape.parameters for model in CATALOGUE} == {
        "qwen2.5-coder-0.5b": 494_032_768,
        "qwen2.5-coder-1.5b": 1_543_714_304,
        "qwen2.5-coder-3b": 3_085_938_688,
        "qwen2.5-coder-7b": 7_615_616_512,
    }


@pytest.mark.parametrize(
    ("name", "quantisation", "published"),
    [
        ("qwen2.5-coder-0.5b", "q8_0", 531e6),
        ("qwen2.5-coder-0.5b", "q4_k_m", 398e6),
        ("qwen2.5-coder-7b", "q8_0", 8.10e9),
        ("qwen2.5-coder-7b", "q4_k_m", 4.68e9),
    ],
)
def test_gguf_sizes_are_those_that_are_published(
    name: str, quantisation: str, published: float
) -> None:
    model = by_name(name)
    assert model is not None
    assert memory.gguf_bytes(model.shape, quantisation) == pytest.approx(published, rel=0.01)


def test_the_need_of_a_model_grows_with_context_and_precision() -> None:
    shape = CATALOGUE[0].shape
    here = machine(60 * GIB, 64 * GIB)
    need = memory.need_of_safetensors(shape, "bfloat16", here, 1000)
    assert need.weights == 2 * shape.parameters
    assert need.cache == 2 * 24 * 2 * 64 * 1000 * 2  # keys and values, layers, heads, size, tokens
    longer = memory.need_of_safetensors(shape, "bfloat16", here, 10**9)
    assert longer.context == 32_768
    double = memory.need_of_safetensors(shape, "float32", here, 1000)
    nf4 = memory.need_of_safetensors(shape, "nf4", machine(GIB, GIB, accelerator=80 * GIB), 1000)
    assert double.weights == 2 * need.weights > 4 * nf4.weights - need.weights


def test_a_processor_that_imitates_bfloat16_computes_in_twice_the_bytes() -> None:
    shape = CATALOGUE[-1].shape
    slow = machine(60 * GIB, 64 * GIB)
    fast = slow.model_copy(update={"cpu_features": ["avx2", "avx512_bf16"]})
    apple = fast.model_copy(update={"system": "Darwin arm64", "cpu_features": ["neon", "bf16"]})
    weights = {
        name: memory.need_of_safetensors(shape, "auto", here).weights
        for name, here in (("slow", slow), ("fast", fast), ("apple", apple))
    }
    assert weights["slow"] == weights["apple"] == 2 * weights["fast"] == 4 * shape.parameters
    assert memory.need_of_safetensors(shape, "nf4", slow).weights < weights["fast"]


@pytest.mark.skipif(platform.system() != "Linux", reason="Only there the kernel tells.")
def test_what_is_said_of_bfloat16_is_what_pytorch_says() -> None:
    code = "import torch; print(torch.ops.mkldnn._is_mkldnn_bf16_supported())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(has_fast_bfloat16())


def test_what_fits_is_told_from_what_is_free_and_what_is_there() -> None:
    shape = CATALOGUE[-1].shape
    need = memory.need_of_safetensors(shape, "bfloat16", machine(GIB, GIB))
    fits = [
        memory.judge(need, machine(free * GIB, total * GIB), on_accelerator=True).fit
        for free, total in ((40, 64), (8, 64), (8, 16))
    ]
    assert fits == ["fits", "tight", "too large"]
    beside = machine(GIB, 2 * GIB, accelerator=80 * GIB)
    assert memory.judge(need, beside, on_accelerator=True).place == "GPU"
    assert memory.judge(need, beside, on_accelerator=False).fit == "too large"


def test_the_recommended_model_follows_the_machine() -> None:
    def name(hardware: Hardware) -> str | None:
        found = memory.recommend(hardware)
        return found[0].name if found else None

    assert name(machine(GIB, GIB)) is None
    assert name(machine(60 * GIB, 64 * GIB, cores=2)) == "qwen2.5-coder-0.5b"
    assert name(machine(60 * GIB, 64 * GIB, cores=8)) == "qwen2.5-coder-3b"
    assert name(machine(GIB, 2 * GIB, accelerator=24 * GIB)) == "qwen2.5-coder-7b"
    assert name(machine(GIB, 2 * GIB, accelerator=6 * GIB)) == "qwen2.5-coder-1.5b"


def test_names_of_the_catalogue_and_of_the_hub_are_understood() -> None:
    gguf = Reference("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", file="q8_0")
    assert parse("Qwen2.5-Coder-0.5B:q8_0") == gguf and gguf.short == "qwen2.5-coder-0.5b:q8_0"
    assert parse("org/name@v1:a-b.gguf") == Reference("org/name", "v1", "a-b.gguf")
    for name in ("rune-nano", "/tmp/org/name", "../name", "org/../name", "a/b/c", "x.gguf", ""):
        assert parse(name) is None


def test_a_hub_s_name_that_is_not_here_says_how_to_get_it(config: RuneConfig) -> None:
    for name in ("qwen2.5-coder-7b", "org/name@v1", "qwen2.5-coder-7b:q4_k_m"):
        with pytest.raises(BaseModelNotFoundError) as missing:
            create_provider(name, config)
        assert f"`rune model pull {name}`" in missing.value.next_step
    with pytest.raises(BaseModelNotFoundError, match="Shipped with Rune: rune-nano"):
        resolve("nothing", config)


def test_a_gguf_file_is_a_base_model_that_cannot_be_trained(
    config: RuneConfig, tmp_path: Path
) -> None:
    key = BASE_MODEL_ID.replace(".", "__")
    file = gguf_file(tmp_path / "mine.gguf", **{key: "qwen2.5-coder-3b-instruct"})
    found = resolve(str(file), config)
    assert found == base_models.BaseModelFolder("qwen2.5-coder-3b-instruct", file)
    with pytest.raises(BaseModelNotFoundError) as refused:
        resolve_trainable(str(file), config)
    assert "rune model pull qwen2.5-coder-3b`" in refused.value.next_step
    assert base_models.describe(str(gguf_file(tmp_path / "other.gguf"))).id == "other"


def test_a_gguf_file_tells_its_shape(tmp_path: Path) -> None:
    keys = {
        "block_count": 24, "embedding_length": 896, "feed_forward_length": 4864,
        "attention__head_count": 14, "attention__head_count_kv": 2, "context_length": 32768,
    }  # fmt: skip
    shape = shape_of(
        gguf_file(
            tmp_path / "m.gguf",
            general__architecture="qwen2",
            tokenizer__ggml__tokens=["a"] * 300,
            **{f"qwen2__{key}": value for key, value in keys.items()},
        )
    )
    assert shape is not None and shape.vocabulary == 300
    assert shape.cache_bytes(1) == CATALOGUE[0].shape.cache_bytes(1)


def test_no_damage_to_a_gguf_header_is_more_than_an_error(tmp_path: Path) -> None:
    good = gguf_file(tmp_path / "m.gguf", a__b="text", c__d=7, e__f=["x", "y"]).read_bytes()
    file = tmp_path / "bad.gguf"
    for end in range(len(good)):
        file.write_bytes(good[:end])
        with pytest.raises(ValueError):
            read_header(file)
    for place in range(4, len(good)):
        file.write_bytes(good[:place] + b"\xff" + good[place + 1 :])
        try:
            read_header(file)
        except ValueError:
            assert shape_of(file) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"id": 7}', '{"id": "m", "distillation": []}'])
def test_damaged_settings_of_a_base_model_are_an_error(
    config: RuneConfig, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(base_models.describe("rune-nano").path, folder)
    (folder / "rune.json").write_text(text)
    with pytest.raises(BaseModelCorruptedError, match="cannot be read"):
        create_provider(str(folder), config)


def test_a_container_s_limits_hold_over_the_machine_s_memory(tmp_path: Path) -> None:
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    group = root / "pod" / "rune"
    group.mkdir(parents=True)
    proc.write_text("0::/pod/rune\n")
    assert cgroup_memory(proc, root) is None and cgroup_cores(proc, root) is None
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text(f"{4 * GIB}\n")
    (group.parent / "memory.current").write_text(f"{3 * GIB}\n")
    (group.parent / "memory.stat").write_text(f"anon 5\ninactive_file {GIB}\n")
    (group.parent / "cpu.max").write_text("150000 100000\n")
    limit = cgroup_memory(proc, root)
    assert limit is not None and (limit.total, limit.available) == (4 * GIB, 2 * GIB)
    assert cgroup_cores(proc, root) == 1.5
    old = tmp_path / "v1"
    (old / "memory" / "box").mkdir(parents=True)
    (old / "memory" / "box" / "memory.limit_in_bytes").write_text(f"{GIB}\n")
    (old / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    proc.write_text("4:memory:/box\n2:cpu,cpuacct:/box\n")
    limit = cgroup_memory(proc, old)
    assert limit is not None and limit.total == GIB


def test_accelerators_are_read_from_what_the_drivers_say(tmp_path: Path) -> None:
    answer = "NVIDIA H200, 143771, 143000, 9.0\nTesla T4, 15360, [N/A], 7.5\nwarning\n"
    big, old = parse_nvidia_smi(answer)
    assert (big.name, big.memory_bytes, big.bf16) == ("NVIDIA H200", 143771 * 1024**2, True)
    assert (old.free_bytes, old.bf16) == (None, False)
    device = tmp_path / "card0" / "device"
    device.mkdir(parents=True)
    for name, text in (
        ("vendor", "0x1002"),
        ("mem_info_vram_total", str(16 * GIB)),
        ("mem_info_vram_used", str(GIB)),
        ("product_name", "Radeon"),
    ):
        (device / name).write_text(text + "\n")
    (tmp_path / "card1" / "device").mkdir(parents=True)
    [card] = amd_accelerators(tmp_path)
    assert (card.name, card.free_bytes) == ("Radeon", 15 * GIB)


def test_the_probe_tells_of_this_machine(tmp_path: Path) -> None:
    found = probe(tmp_path / "not" / "there" / "yet")
    assert found.cores >= 1 and found.disk_free_bytes > 0
    assert 0 < found.memory_available_bytes <= found.memory_bytes
    assert Hardware.model_validate_json(found.model_dump_json()) == found
    name, features = parse_cpuinfo("model name\t: Xeon\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert (name, features) == ("Xeon", ["avx2", "avx512_bf16"])


def test_choosing_a_model_changes_nothing_else_in_the_settings(config: RuneConfig) -> None:
    config.home.mkdir()
    file = config.home / "config.toml"
    text = '# mine\nbase_model = "old"  # for now\n\n[sandbox]\nwall_seconds = 3.5\n'
    file.write_text(text)
    file.chmod(0o640)
    change_settings(config.home, {"base_model": "rune-nano"})
    assert file.read_text() == text.replace('"old"', '"rune-nano"')
    assert file.stat().st_mode & 0o777 == 0o640
    change_settings(config.home, {"serving.backend": "auto"})
    assert file.read_text().startswith("# mine") and 'backend = "auto"' in file.read_text()
    file.write_text("base_model = \n")
    with pytest.raises(InvalidInputError, match="cannot be changed"):
        change_settings(config.home, {"base_model": "rune-nano"})
    assert file.read_text() == "base_model = \n"
    assert [path.name for path in config.home.iterdir()] == ["config.toml"]


def test_a_folder_is_kept_by_its_absolute_path(
    config: RuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(base_models.describe("rune-nano").path, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert name_to_keep("./model", config) == str((tmp_path / "model").resolve())
    assert name_to_keep("rune-nano", config) == "rune-nano"


def test_knowing_the_models_loads_no_library_of_them() -> None:
    code = "import sys, rune_engine.hardware, rune_engine.model_store.resolve\n"
    code += "assert not {'torch', 'huggingface_hub', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
