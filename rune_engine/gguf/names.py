"""What llama.cpp calls the tensors of a Qwen2 model. Knows names only."""

from __future__ import annotations

import re

_LAYER = re.compile(r"model\.layers\.(\d{1,4})\.([a-z_.]+)\.(weight|bias)")
_IN_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_PEFT = re.compile(
    r"base_model\.model\.(?P<module>model\.layers\.\d{1,4}\."
    r"(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj))\.lora_(?P<side>[AB])(?:\.default)?\.weight"
)


def gguf_name(name: str) -> str | None:
    """The GGUF name of a Transformers tensor; None for one that a Qwen2 does not have."""
    if found := _LAYER.fullmatch(name):
        layer, module, kind = found.groups()
        return f"blk.{layer}.{_IN_LAYER[module]}.{kind}" if module in _IN_LAYER else None
    return _OUTSIDE.get(name)


def lora_name(name: str) -> tuple[str, str] | None:
    """The module and the side ("A" or "B") of a tensor of PEFT's; None for one that is no LoRA."""
    found = _PEFT.fullmatch(name)
    return (found["module"], found["side"]) if found else None
