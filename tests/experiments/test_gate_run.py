"""A whole run: every step with a scripted model, and the real command with real trainers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments_support import Narrow, fenced, script, suite_file
from nano_support import nano

from rune_engine.config import RuneConfig
from rune_engine.experiments import weights
from rune_engine.experiments.base import Base
from rune_engine.experiments.conditions import CONDITIONS
from rune_engine.experiments.gate import Machinery, run_gate
from rune_engine.experiments.report import assessment
from rune_engine.experiments.settings import GateSettings
from rune_engine.experiments.weights import Factors
from rune_engine.jobs.trainer import Trainers
from rune_engine.sandbox import Sandbox

TRAINER = Path(__file__).resolve().parent / "particular_trainer.py"
BOUND_SECONDS = 280
ASKED = ("pass_at_1", "interval", "seconds_per_adapter", "prompt_tokens", "by_kind")


@pytest.fixture
def base(tmp_path: Path) -> Base:
    folder = tmp_path / "base"
    factors = Factors(np.ones((2, 8), np.float32), np.ones((6, 2), np.float32))
    made = {"model.layers.0.mlp.down_proj": factors}
    weights.write(made, folder / "adapter", "any", "scripted")
    return Base("tiny", "scripted", folder, "0" * 64)


def machinery(base: Base, provider: Narrow, config: RuneConfig) -> Machinery:
    return Machinery(
        config=config,
        base=base,
        provider=provider,
        sandbox=Sandbox(),
        trainers=Trainers((sys.executable, str(TRAINER))),
        work=base.path.parent / "work",
    )


def adding(number: int, right: bool) -> dict[str, Any]:
    """What a memory, or the base model alone, answers to a task of the suite."""
    code = f"def add_{number}(x):\n    return x + {number if right else -1}"
    return {
        "contains": f"add_{number}(",
        "answers": [fenced(code)],
        "adapter_id": "*" if right else None,
    }


async def test_a_suites_figures_are_what_the_model_answered(
    tmp_path: Path, base: Base, config: RuneConfig
) -> None:
    rules = [adding(number, right) for right in (True, False) for number in range(6)]
    provider = Narrow(script(tmp_path, rules))
    settings = GateSettings(suite=suite_file(tmp_path), samples=2, growth=(1,), resamples=200)
    figures = await run_gate(settings, machinery(base, provider, config))
    rates = {name: each["pass_at_1"] for name, each in figures["conditions"].items()}
    assert list(rates) == list(CONDITIONS)
    assert rates == {
        "base": 0.0,
        "in_context": 0.0,
        "direct": 1.0,
        "closed_form": 1.0,
        "hypernetwork": None,
        "random": 1.0,
        "wrong_project": None,
    }
    assert figures["decision"] == "Gate PASSED"
    assert figures["decided_by"]["condition"] == "closed_form"
    assert figures["conditions"]["wrong_project"]["reason"] == "There is no other project."
    assert figures["growth"]["closed_form"].keys() == {"1", "3"}
    assert figures["consolidation"] is None and figures["plain"] == {} == figures["repair"]
    held = {promise["line"]: promise["held"] for promise in figures["promises"]}
    assert held["a random adapter: no better than base + 5 points"] is False
    assert all(check["clean"] for check in figures["leaks"])
    text = assessment(figures)
    assert "`adding.jsonl`" in text and "a random adapter: no better" in text
    json.dumps(figures)

    asked = len(provider.asked)
    again = await run_gate(settings, machinery(base, provider, config))
    assert len(provider.asked) == asked, "a run that goes on asks nothing twice"
    assert again | {"seconds": 0} == figures | {"seconds": 0}


async def test_worlds_go_through_every_step(tmp_path: Path, base: Base, config: RuneConfig) -> None:
    """The model answers nothing right: everything is asked, counted and denied."""
    rules = [{"contains": "", "answers": [fenced("pass")]}]
    provider = Narrow(script(tmp_path, rules))
    settings = GateSettings(
        seeds=(1,), projects=2, sessions=6, tasks=2, plain=1, samples=1, consolidated=2, growth=(2,)
    )
    figures = await run_gate(settings, machinery(base, provider, config))
    measured = {name: each["tasks"] for name, each in figures["conditions"].items()}
    assert measured == dict.fromkeys(CONDITIONS, 8) | {"hypernetwork": 0}
    assert figures["decision"] == "Gate FAILED - reassessing"
    assert {name: each["tasks"] for name, each in figures["plain"].items()} == {
        "base": 2,
        "closed_form": 2,
        "direct": 2,
    }
    assert figures["repair"]["alone"]["tasks"] == figures["repair"]["in_context"]["tasks"] > 0
    assert figures["growth"]["closed_form"].keys() == {"2", "6"}
    assert "direct" not in figures["growth"]
    assert figures["consolidation"]["groups"] == [[each["name"] for each in figures["subjects"]]]
    assert figures["consolidation"]["weights_keep"] is None, "of nothing there is no share"
    assert figures["conditions"]["in_context"]["sessions_in_prompt"] == 6
    assert all(check["clean"] and check["looked_at"] for check in figures["leaks"])
    united = list((base.path.parent / "work" / "adapters").glob("closed_form-united-0-*"))
    assert len(united) == 1
    lines = (united[0] / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12
    assert assessment(figures).startswith("# Gate FAILED - reassessing\n")


def test_the_command_measures_rune_nano_with_real_trainers_and_sandbox(tmp_path: Path) -> None:
    figures_file, text_file = tmp_path / "gate.json", tmp_path / "gate.md"
    steps = {"min_steps": 2, "max_steps": 2, "finish_steps": 0, "rehearsal": 0}
    hurried = nano(tmp_path / "hurried", **steps)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rune_engine.cli.main", "experiment", "gate"),
            *("--base", str(hurried), "--seeds", "1", "--projects", "2", "--sessions", "6"),
            *("--tasks", "2", "--plain", "1", "--samples", "1", "--max-tokens", "64"),
            *("--growth", "", "--consolidated", "0", "--resamples", "200", "--no-track"),
            *("--json", str(figures_file), "--assessment", str(text_file)),
        ],
        env={**os.environ, "RUNE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(figures_file.read_text(encoding="utf-8"))
    conditions = figures["conditions"]
    assert list(conditions) == list(CONDITIONS)
    for name, each in conditions.items():
        assert set(ASKED) <= each.keys()
        if each["available"]:
            low, high = each["interval"]
            assert 0 <= low <= each["pass_at_1"] <= high <= 1, name
            assert each["by_kind"].keys() == {"new_combinations", "new_wordings"}
            assert each["tasks"] + each["undecided"] == 8
    assert conditions["in_context"]["prompt_tokens"] > 4 * conditions["base"]["prompt_tokens"]
    assert conditions["closed_form"]["prompt_tokens"] == conditions["base"]["prompt_tokens"]
    assert conditions["closed_form"]["seconds_per_adapter"] > 0
    assert conditions["base"]["seconds_per_adapter"] is None
    signals = figures["diagnostics"]["closed_form"]
    assert signals["changes_something"] and -1 <= signals["mean_cosine"] < 0.999
    assert figures["consolidation"] is None and figures["growth"]["closed_form"].keys() == {"6"}
    assert all(check["clean"] for check in figures["leaks"])
    assert figures["decision"] in ("Gate PASSED", "Gate FAILED - reassessing")
    assert text_file.read_text(encoding="utf-8").startswith(f"# {figures['decision']}\n")
    assert figures["decision"] in done.stdout
