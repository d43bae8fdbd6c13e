"""A tiny random base model with its tokenizer, and adapters whose weights do something.

The model knows nothing, which is enough: what is tested is that the right bytes answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from inference_support import BASE_MODEL_ID, MakeAdapter

from rune_engine.inference.provider import AdapterRef

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 of two layers, in a folder that Transformers loads.

    Greedily it never ends its turn: the special tokens' embeddings are zero, and so are their
    logits.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("base") / BASE_MODEL_ID
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=131_072,
        initializer_range=0.1,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.Qwen2ForCausalLM(config)
    model.model.embed_tokens.weight.data[tokenizer.all_special_ids] = 0.0
    model.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    """Byte-level BPE as Qwen2 splits it, trained on some of the standard library."""
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import decoders, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    sources = sorted(Path(json.__file__).parent.glob("*.py"))
    bpe.train_from_iterator((source.read_text(encoding="utf-8") for source in sources), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture(scope="session")
def make_adapter(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeAdapter:
    """Makes an adapter as PEFT saves it, with a B that is not zero."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    def make(
        name: str,
        seed: int,
        modules: Sequence[str] = ALL_LINEAR,
        *,
        rank: int = 4,
        strength: float = 0.3,
        **settings: Any,
    ) -> AdapterRef:
        torch.manual_seed(seed)
        settings = {"lora_alpha": 2 * rank, "target_modules": list(modules), **settings}
        lora = peft.LoraConfig(r=rank, **settings)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base_folder), lora)
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=strength)
        folder = tmp_path_factory.mktemp("adapter") / name
        model.save_pretrained(folder)
        return AdapterRef(name, folder, sha256_of(folder), BASE_MODEL_ID)

    return make


def sha256_of(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def adapter_a(make_adapter: MakeAdapter) -> AdapterRef:
    return make_adapter("adapter-a", seed=1)


@pytest.fixture(scope="session")
def adapter_b(make_adapter: MakeAdapter) -> AdapterRef:
    """On other modules than `adapter_a`, so that switching must clear what it leaves out."""
    return make_adapter("adapter-b", seed=2, modules=["down_proj"])
