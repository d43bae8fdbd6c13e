"""Our own LoRA layers beside PEFT, in float32, several adapters in one batch included."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from inference_support import BASE_MODEL_ID, MakeAdapter, ask

from rune_engine.errors import AdapterCorruptedError
from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest
from rune_engine.inference.rows import Row

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from rune_engine.inference.local_model import LocalModel  # noqa: E402

MIB = 1024**2
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "ranks by name": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 8}},
    "alphas by name": {"alpha_pattern": {"v_proj": 32, "^model.layers.0.self_attn.o_proj": 1}},
    "DoRA": {"use_dora": True},
    "all at once": {
        "use_rslora": True,
        "rank_pattern": {"gate_proj": 6},
        "alpha_pattern": {"gate_proj": 3, "k_proj": 24},
    },
}


@pytest.fixture(scope="module")
def calm_base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model with smaller weights: it does not blow up what float32 rounds off."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("calm") / BASE_MODEL_ID
    shutil.copytree(base_folder, folder)
    model: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter *= 0.3
    model.save_pretrained(folder)
    return folder


def local_model(base: Path, **settings: Any) -> LocalModel:
    torch.set_num_threads(1)
    budgets = {"adapter_bytes": MIB, "prefix_bytes": MIB}
    return LocalModel(base, **{**budgets, "precision": "float32", **settings})


def answers(
    model: LocalModel, calls: Sequence[tuple[GenerationRequest, AdapterRef | None]]
) -> list[Generation]:
    """Every call's answer; all of them join the model at once."""
    rows = [model.row(request, adapter, lambda: False, None) for request, adapter in calls]
    for row in rows:
        assert model.admit(row)
    finish(model, rows)
    return [row.generation() for row in rows]


def finish(model: LocalModel, rows: Sequence[Row]) -> None:
    ended: list[Row] = []
    while len(ended) < len(rows):
        ended += model.step()
    assert set(ended) == set(rows)


def peft_logprobs(base: Path, adapter: AdapterRef | None, ids: list[int], new: int) -> list[float]:
    """The log-probabilities of the last `new` of some tokens, by PEFT in float32."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter.path)
    with torch.inference_mode():
        logits = model.eval()(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    start = len(ids) - new
    return [float(logits[start + n - 1, ids[start + n]]) for n in range(new)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_log_probabilities_are_those_of_peft(
    variant: str, calm_base: Path, make_adapter: MakeAdapter
) -> None:
    adapter = make_adapter(variant.replace(" ", "-"), seed=7, strength=0.1, **VARIANTS[variant])
    model = local_model(calm_base)
    row = model.row(ask("add two numbers", logprobs=True), adapter, lambda: False, None)
    assert model.admit(row)
    finish(model, [row])
    tokens = row.prompt + row.tokens
    expected = peft_logprobs(calm_base, adapter, tokens, len(row.tokens))
    base = peft_logprobs(calm_base, None, tokens, len(row.tokens))
    assert max(abs(a - b) for a, b in zip(expected, base, strict=True)) > 0.01
    assert row.logprobs == pytest.approx(expected, abs=1e-5)


def test_a_batch_of_several_adapters_answers_as_each_of_them_alone(
    base_folder: Path, adapter_a: AdapterRef, adapter_b: AdapterRef
) -> None:
    model = local_model(base_folder, prefix_bytes=0)
    prompts = ["add", "a longer question than the others, of several words", "sort", "add"]
    calls = [
        (ask(prompt, logprobs=True, max_tokens=5 + 3 * number), adapter)
        for number, prompt in enumerate(prompts)
        for adapter in (adapter_b, None, adapter_a)
    ]
    alone = [answers(model, [call])[0] for call in calls]
    for known, answer in zip(alone, answers(model, calls), strict=True):
        assert answer.text == known.text
        assert answer.token_logprobs == pytest.approx(known.token_logprobs, abs=1e-5)


def test_rows_that_join_later_neither_wait_nor_disturb(
    base_folder: Path, adapter_a: AdapterRef, adapter_b: AdapterRef
) -> None:
    model = local_model(base_folder, prefix_bytes=0)
    long = (ask("a long story", logprobs=True, max_tokens=60), adapter_a)
    short = (ask("add " * 40, logprobs=True, max_tokens=4), adapter_b)
    alone = [answers(model, [call])[0] for call in (long, short)]
    first = model.row(*long, lambda: False, None)
    assert model.admit(first)
    for _ in range(10):
        assert model.step() == []
    second = model.row(*short, lambda: False, None)
    assert model.admit(second)
    finish(model, [second])
    assert first.finish_reason is None
    finish(model, [first])
    for known, row in zip(alone, (first, second), strict=True):
        assert row.generation().text == known.text
        assert row.logprobs == pytest.approx(known.token_logprobs, abs=1e-5)


def test_a_long_prompt_is_read_while_others_decode(base_folder: Path) -> None:
    model = local_model(base_folder)
    quick = model.row(ask("add", max_tokens=6), None, lambda: False, None)
    assert model.admit(quick)
    model.step()
    slow = model.row(ask("word " * 3000, max_tokens=2), None, lambda: False, None)
    assert model.admit(slow)
    finish(model, [quick])
    assert slow.tokens == []
    finish(model, [slow])
    assert len(slow.tokens) == 2


def test_a_row_that_is_cancelled_leaves_whatever_it_was_doing(base_folder: Path) -> None:
    model = local_model(base_folder)
    cancelled: set[str] = set()

    def joined(name: str, text: str) -> Row:
        row = model.row(ask(text, max_tokens=50), None, lambda: name in cancelled, None)
        assert model.admit(row)
        return row

    decoding = joined("decoding", "add")
    model.step()
    reading = joined("reading", "word " * 3000)
    model.step()
    waiting = joined("waiting", "sort")
    cancelled |= {"decoding", "reading", "waiting"}
    finish(model, [decoding, reading, waiting])
    assert answers(model, [(ask("add", max_tokens=2), None)])[0].completion_tokens == 2


def test_weights_that_are_too_large_fail_their_own_row_only(
    base_folder: Path, adapter_a: AdapterRef, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "huge"
    folder.mkdir()
    weights = load_file(adapter_a.path / "adapter_model.safetensors")
    save_file(
        {k: v.sign() * 3e38 for k, v in weights.items()}, folder / "adapter_model.safetensors"
    )
    config = (adapter_a.path / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(config)
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    huge = AdapterRef("huge", folder, digest, BASE_MODEL_ID)
    model = local_model(base_folder)
    known = answers(model, [(ask("add"), adapter_a)])
    rows = [
        model.row(ask("add"), adapter_a, lambda: False, None),
        model.row(ask("add", temperature=1.0), huge, lambda: False, None),
    ]
    for row in rows:
        assert model.admit(row)
    finish(model, rows)
    assert isinstance(rows[1].error, AdapterCorruptedError)
    assert "finite" in rows[1].error.message
    assert [rows[0].generation()] == known


def test_an_adapter_of_another_shape_is_refused(
    base_folder: Path, adapter_a: AdapterRef, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    tensors = {f"{name}A.weight": torch.zeros(4, 128), f"{name}B.weight": torch.zeros(128, 4)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    digest = hashlib.sha256((tmp_path / "adapter_model.safetensors").read_bytes()).hexdigest()
    model = local_model(base_folder)
    row = model.row(ask("add"), AdapterRef("wide", tmp_path, digest, ""), lambda: False, None)
    with pytest.raises(AdapterCorruptedError, match=r"q_proj.*\(128, 128\)"):
        model.admit(row)


def test_no_budget_keeps_no_adapter_and_serves_all_of_them(
    base_folder: Path, adapter_a: AdapterRef, adapter_b: AdapterRef
) -> None:
    roomy, tight = local_model(base_folder), local_model(base_folder, adapter_bytes=0)
    calls = [(ask("add", max_tokens=4), adapter) for adapter in (adapter_a, adapter_b, adapter_a)]
    assert answers(tight, calls) == answers(roomy, calls)
    assert tight.loaded_adapters == []
    assert roomy.loaded_adapters == ["adapter-b", "adapter-a"]


@pytest.mark.parametrize("precision", ["bfloat16", "nf4"])
def test_other_precisions_answer_with_the_right_adapter(
    precision: str, base_folder: Path, make_adapter: MakeAdapter, adapter_a: AdapterRef
) -> None:
    if precision == "nf4":
        pytest.importorskip("bitsandbytes")
    model = local_model(base_folder, precision=precision, prefix_bytes=0)
    dora = make_adapter(f"dora-{precision}", seed=8, use_dora=True)
    base, adapted, turned, again = (
        answers(model, [(ask("add", logprobs=True), adapter)])[0]
        for adapter in (None, adapter_a, dora, None)
    )
    assert base == again
    assert len({base.text, adapted.text, turned.text}) == 3
    assert all(map(math.isfinite, adapted.token_logprobs + turned.token_logprobs))


def test_less_context_than_the_model_has_may_be_asked_for(base_folder: Path) -> None:
    model = local_model(base_folder, context=64)
    [answer] = answers(model, [(ask("add", max_tokens=1000), None)])
    assert answer.prompt_tokens + answer.completion_tokens == 64
