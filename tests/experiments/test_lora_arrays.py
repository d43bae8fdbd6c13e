"""Updates as arrays: norms, cosines, sums and random twins, and files that every back-end takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rune_engine.experiments import weights
from rune_engine.experiments.weights import Factors
from rune_engine.inference.adapter_files import AdapterReader
from rune_engine.inference.provider import AdapterRef

MODULE = "model.layers.1.mlp.down_proj"
OTHER = "model.layers.0.self_attn.q_proj"


def update(seed: int, *names: str, rank: int = 3) -> dict[str, Factors]:
    generator = np.random.default_rng(seed)
    return {
        name: Factors(
            generator.standard_normal((rank, 10)).astype(np.float32),
            generator.standard_normal((6, rank)).astype(np.float32),
        )
        for name in names
    }


def whole(made: weights.Update) -> object:
    """All entries of the products, one after the other."""
    return np.concatenate([(made[name].b @ made[name].a).ravel() for name in sorted(made)])


def test_norm_and_cosine_are_those_of_the_products() -> None:
    one, other = update(1, MODULE, OTHER), update(2, MODULE, OTHER)
    expected = whole(one) @ whole(other)  # type: ignore[operator]
    lengths = np.linalg.norm(whole(one)) * np.linalg.norm(whole(other))
    assert weights.norm(one) == pytest.approx(np.linalg.norm(whole(one)), rel=1e-5)
    assert weights.cosine(one, other) == pytest.approx(expected / lengths, abs=1e-5)
    assert weights.cosine(one, one) == pytest.approx(1.0)


def test_modules_that_one_of_them_leaves_alone_count() -> None:
    one = update(1, MODULE, OTHER)
    half = {MODULE: one[MODULE]}
    assert 0 < weights.cosine(one, half) < 1
    assert weights.cosine(one, update(3, "elsewhere")) == 0.0


def test_a_random_twin_has_the_shapes_and_the_norm_of_every_module() -> None:
    taught = update(1, MODULE, OTHER)
    drawn = weights.random_like(taught, seed=5)
    for name, factors in taught.items():
        assert drawn[name].a.shape == factors.a.shape
        assert drawn[name].b.shape == factors.b.shape
        assert drawn[name].norm == pytest.approx(factors.norm, rel=1e-5)
    assert abs(weights.cosine(taught, drawn)) < 0.5
    assert whole(drawn).tolist() == whole(weights.random_like(taught, seed=5)).tolist()  # type: ignore[attr-defined]
    assert weights.cosine(drawn, weights.random_like(taught, seed=6)) < 0.5


def test_a_sum_of_updates_is_the_sum_of_their_products() -> None:
    parts = [update(seed, MODULE, rank=seed) for seed in (1, 2, 4)]
    total = weights.added(parts)
    assert total[MODULE].a.shape == (7, 10)
    assert np.allclose(whole(total), sum(map(whole, parts)), atol=1e-5)  # type: ignore[call-overload]


def test_updates_of_different_modules_are_not_added() -> None:
    with pytest.raises(ValueError, match="different modules"):
        weights.added([update(1, MODULE), update(1, OTHER)])


def test_what_is_written_is_a_sound_adapter_and_reads_as_it_was(tmp_path: Path) -> None:
    made = update(1, MODULE, rank=3) | update(2, OTHER, rank=2)
    ref = weights.write(made, tmp_path / "adapter", "mine", "base")
    assert AdapterReader().read(ref).settings.rank(OTHER) == 2
    assert np.allclose(whole(weights.read(ref)), whole(made))
    again = weights.write(made, tmp_path / "adapter", "mine", "base")
    assert again == ref


def test_an_adapters_scaling_is_part_of_its_update(tmp_path: Path) -> None:
    made = update(1, MODULE, rank=4)
    ref = weights.write(made, tmp_path / "adapter", "mine", "base")
    config = ref.path / "adapter_config.json"
    config.chmod(0o600)
    config.write_text(config.read_text().replace('"lora_alpha": 4', '"lora_alpha": 8'))
    assert weights.norm(weights.read(ref)) == pytest.approx(2 * weights.norm(made), rel=1e-5)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_adapters_read_as_what_they_say(tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    made = update(1, MODULE)
    ref = weights.write(made, tmp_path / "adapter", "mine", "base")
    file = ref.path / "adapter_model.safetensors"
    tensors = {name: t.to(getattr(torch, kind)) for name, t in load_file(file).items()}
    save_file(tensors, file)
    half = AdapterRef("mine", ref.path, _sha256(file), "base")
    read = weights.read(half)[MODULE]
    assert np.array_equal(read.a, tensors[f"base_model.model.{MODULE}.lora_A.weight"].float())
    assert np.array_equal(read.b, tensors[f"base_model.model.{MODULE}.lora_B.weight"].float())


def _sha256(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()
