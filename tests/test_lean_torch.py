"""A worker's torch does without the compiler, and has it again when it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import base_models

pytest.importorskip("torch")
pytest.importorskip("transformers")
PROGRAM = """
import json, sys
from rune_engine.lean_torch import leave_out_compiler
leave_out_compiler()
import torch
from transformers import AutoModelForCausalLM

def loaded():
    large = "torch._dynamo.eval_frame", "torch._inductor", "torch.distributed.tensor"
    return [name for name in large if name in sys.modules]

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
head = model.get_output_embeddings().weight
optimizer = torch.optim.AdamW([head], lr=0.1)
losses = []
for _ in range(2):
    ids = torch.arange(20).unsqueeze(0)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
without = loaded()
tripled = torch.compile(lambda x: 3 * x, backend="eager")(torch.ones(2))
print(json.dumps({"losses": losses, "without": without, "tripled": tripled.tolist(),
                  "with": loaded(), "restored": torch._dynamo is sys.modules["torch._dynamo"]}))
"""


def test_a_model_is_trained_without_the_compiler_which_is_there_when_it_is_needed() -> None:
    model = str(base_models.describe("rune-nano").path)
    command = [sys.executable, "-c", PROGRAM, model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["losses"][1] < found["losses"][0]
    assert found["without"] == []
    assert found["tripled"] == [3.0, 3.0] and found["restored"]
    assert "torch._dynamo.eval_frame" in found["with"]
