"""`kill -9` at any point of a consolidation: in the end there is one of everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from consolidating import adapters, consolidating_config, decisions, events, jobs, record_tasks
from engine_support import end_engines, engines, kill_engine, stand_in_trainer_path, until

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig

KILLS = 4
PHASES: dict[str, Callable[[RuneConfig], bool]] = {
    "nothing has happened": lambda config: True,
    "a distillation is queued": lambda config: bool(jobs(config, "distill")),
    "it runs": lambda config: reached(config, "distill", "running"),
    "serving sleeps": lambda config: bool(events(config, "serving_slept")),
    "the adapter is stored": lambda config: bool(adapters(config)),
    "it is to be measured": lambda config: bool(jobs(config, "evaluate")),
    "it is being measured": lambda config: reached(config, "evaluate", "running"),
    "it is to be judged": lambda config: bool(jobs(config, "evolve")),
    "it is judged": lambda config: bool(judged(config)),
}
MORE_SECONDS = 0.1
"""Up to so long after a phase has begun comes the kill."""


def reached(config: RuneConfig, kind: str, status: str) -> bool:
    """Whether a job of this kind has this status, or one that comes after it."""
    return any(job["status"] in (status, "succeeded") for job in jobs(config, kind))


def judged(config: RuneConfig) -> list[dict[str, object]]:
    return [*decisions(config, "kept"), *decisions(config, "archived")]


def done(config: RuneConfig) -> bool:
    return [job["status"] for job in jobs(config, "evolve")] == ["succeeded"]


@pytest.mark.parametrize("seed", range(3))
async def test_there_is_one_adapter_one_measurement_and_one_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", stand_in_trainer_path())
    # An adapter goes for being no better where enough tasks say so.
    helps, share = seed % 2 == 0, 0.2 if seed % 2 == 0 else 0.7
    config = consolidating_config(tmp_path, helps=helps, exclusive="always", kept_back_share=share)
    chance = random.Random(seed)
    phases = sorted(chance.sample(list(PHASES), KILLS), key=list(PHASES).index)
    try:
        async with EngineClient(config) as client:
            await record_tasks(client, range(8))
            for phase in phases:
                await until(lambda phase=phase: PHASES[phase](config), phase)
                await asyncio.sleep(chance.uniform(0, MORE_SECONDS))
                if engines(config):
                    await asyncio.to_thread(kill_engine, config)
                await client.health()
            await until(lambda: done(config), f"all is done, after kills once {phases}")
            assert_one_of_each(config, helped=helps)
    finally:
        end_engines(config)


def assert_one_of_each(config: RuneConfig, *, helped: bool) -> None:
    (adapter,) = adapters(config)
    ended = {kind: [job["status"] for job in jobs(config, kind)] for kind in KINDS}
    assert ended == {kind: ["succeeded"] for kind in KINDS}
    assert len(decisions(config, "distill")) == len(judged(config)) == 1
    assert (adapter["pass_rate"], adapter["is_archived"]) == ((1.0, 0) if helped else (0.0, 1))
    assert len(events(config, "adapter_stored")) == 1
    assert len(events(config, "adapter_archived")) == (0 if helped else 1)
    turns = events(config, "serving_slept", "serving_woke")
    assert turns and turns == ["serving_slept", "serving_woke"] * (len(turns) // 2)


KINDS = ("distill", "evaluate", "evolve")
