"""Phase 0: what works is good, what is broken is found, what nobody could try is said so."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from engine_support import is_alive, wait_until

import base_models
from rune_engine.config import ServingSettings, load_config
from rune_engine.doctor.back_ends import back_end_checks
from rune_engine.doctor.probing import probe
from rune_engine.doctor.serving import (
    EXACT,
    QUANTISED,
    ROUNDED,
    adapted,
    allowed,
    serving_checks,
)
from rune_engine.inference.factory import create_provider
from rune_engine.models.probing import Check, KnownAdapter, ProbeJob, ProbeLine

pytest.importorskip("torch")

DYING = (sys.executable, str(Path(__file__).parent / "dying_probe.py"))
SILENT = ("true",)
TRIED = ("accelerator", "torch steps", "bf16", "serving", "lora serving")


def ignore(_line: str) -> None:
    """Nobody follows."""


def job(folder: Path, *lines: ProbeLine, model: str | None = None) -> ProbeJob:
    return ProbeJob(
        lines=list(lines), base_model_path=model, output_path=str(folder), seed=7, threads=1
    )


def rune(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rune_engine.cli.main", "doctor", *arguments]
    given = {"RUNE_HOME": str(home), "RUNE_BASE_MODEL": "rune-nano", "RUNE_MODEL_THREADS": "1"}
    environment = {**psutil.Process().environ(), **given, "COLUMNS": "200"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_every_line_is_tried_and_no_process_is_left(tmp_path: Path) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    ended = rune(tmp_path / "home", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    checks = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert {name: checks[name]["status"] for name in TRIED} == dict.fromkeys(TRIED, "good")
    assert checks["qlora step"]["status"] in ("good", "warning")
    assert checks["serving"]["facts"]["tokens_per_second"] > 0
    facts = checks["torch steps"]["facts"]
    assert facts["last_loss"] < facts["first_loss"]
    assert 0 < checks["lora serving"]["facts"]["worst_logprob_difference"] < EXACT.difference
    assert not (tmp_path / "home").exists()
    started = {p.pid for p in psutil.Process().children(recursive=True)} - before
    wait_until(lambda: not any(map(is_alive, started)), "what it started is gone")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> KnownAdapter:
    """What the probe taught rune-nano."""
    folder = tmp_path_factory.mktemp("probe")
    nano = base_models.describe("rune-nano")
    told = job(folder, "known adapter", model=str(nano.path))
    told = told.model_copy(update={"base_model_id": nano.id})
    outcomes = asyncio.run(probe(told, ignore))
    assert outcomes["known adapter"].status == "good", outcomes
    return KnownAdapter.model_validate_json((folder / "known.json").read_bytes())


def at_another_scale(known: KnownAdapter, times: float) -> KnownAdapter:
    """The same weights, to be served at another scale than PEFT was asked at."""
    folder = Path(known.path).with_name(f"times-{times}")
    shutil.copytree(known.path, folder)
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["lora_alpha"] *= times
    file.write_text(json.dumps(config), encoding="utf-8")
    return known.model_copy(update={"path": str(folder)})


async def test_a_back_end_that_applies_an_adapter_wrongly_is_found(
    known: KnownAdapter, tmp_path: Path
) -> None:
    provider = create_provider("rune-nano", load_config(home=tmp_path, model_threads=1))
    try:
        assert (await adapted(provider, known, EXACT)).status == "good"
        for wrong in (at_another_scale(known, 2.0), at_another_scale(known, 0.5)):
            for within in (EXACT, ROUNDED):
                check = await adapted(provider, wrong, within)
                assert check.status == "problem" and "the adapter says" in check.detail
        not_applied = known.model_copy(update={"adapted": known.base, "base": known.adapted})
        check = await adapted(provider, not_applied, QUANTISED)
        assert check.status == "problem" and known.taught in check.detail
        damaged = known.model_copy(update={"sha256": "0" * 64})
        assert (await adapted(provider, damaged, ROUNDED)).status == "problem"
    finally:
        await provider.close()


async def test_a_model_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    config = load_config(home=tmp_path / "home", base_model=str(broken))
    why = Check(name="known adapter", status="untried", detail="there is none")
    serves, lora = await serving_checks(config, why, ROUNDED)
    assert (serves.status, lora.status) == ("problem", "untried")
    assert serves.next_step and lora.detail == "there is none"


@pytest.mark.parametrize("base_model", ["no-such-model", "scripted:{script}"])
async def test_without_a_model_there_is_nothing_to_try(tmp_path: Path, base_model: str) -> None:
    script = tmp_path / "script.json"
    script.write_text("[]", encoding="utf-8")
    config = load_config(home=tmp_path / "home", base_model=base_model.format(script=script))
    why = Check(name="known adapter", status="untried", detail="there is none")
    checks = await serving_checks(config, why, ROUNDED)
    assert [check.status for check in checks] == ["untried"] * 2
    assert all(check.next_step for check in checks)


async def test_a_line_that_kills_its_process_keeps_no_other_from_being_tried(
    tmp_path: Path,
) -> None:
    begun: list[str] = []
    told = job(tmp_path, "accelerator", "bf16", "qlora step")
    outcomes = await probe(told, begun.append, DYING)
    assert begun == told.lines
    assert [outcomes[line].status for line in told.lines] == ["good", "problem", "good"]
    assert outcomes["accelerator"].detail != outcomes["qlora step"].detail
    dead = outcomes["bf16"]
    assert "SIGKILL" in dead.detail and "Illegal instruction" in dead.detail
    assert "memory" in dead.next_step


async def test_a_probe_that_says_nothing_fails_every_line(tmp_path: Path) -> None:
    outcomes = await probe(job(tmp_path, "accelerator", "bf16"), ignore, SILENT)
    assert [check.status for check in outcomes.values()] == ["problem"] * 2


async def test_a_back_end_that_is_missing_matters_where_it_is_the_configured_one(
    tmp_path: Path,
) -> None:
    nowhere = "http://127.0.0.1:9"
    for backend in ("vllm", "ollama"):
        serving = ServingSettings(vllm_url=nowhere, ollama_url=nowhere, backend=backend)
        config = load_config(home=tmp_path, serving=serving)
        checks = {check.name: check for check in await back_end_checks(config)}
        statuses = {name: checks[name].status for name in ("vllm", "ollama")}
        assert statuses == {"vllm": "warning", "ollama": "warning"} | {backend: "problem"}
        assert nowhere in checks[backend].detail and checks[backend].next_step


def test_how_close_a_back_end_must_be_follows_from_its_precision() -> None:
    def within(precision: str, base_model: str = "rune-nano") -> object:
        serving = ServingSettings.model_validate({"precision": precision})
        return allowed(load_config(serving=serving, base_model=base_model))

    assert within("float32") == EXACT and within("auto") == ROUNDED
    assert within("nf4") == within("auto", "model.Q4_K_M.gguf") == QUANTISED


def test_the_doctor_loads_no_torch() -> None:
    code = "import sys, rune_engine.cli.main, rune_engine.doctor; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
