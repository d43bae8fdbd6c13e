"""Homes that consolidate at once, with a scripted base model that an adapter helps or does not."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from engine_support import ADD_TESTS, BY_HELD_OUT_TASKS, RIGHT, base_model_folder, draft

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config

WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
CALM = {"quiet_seconds": 0, "max_load": None, "min_free_memory_bytes": 0, "on_battery": True}


def consolidating_config(
    folder: Path,
    *,
    helps: bool = True,
    behaviour: str = "finish",
    idle_seconds: float = 60.0,
    exclusive: str = "auto",
    **changes: Any,
) -> RuneConfig:
    """A home in `folder`; with any adapter the model is right, if it `helps`.

    Args:
        changes: of the consolidation's settings.
    """
    model = base_model_folder(folder, behaviour)
    (model / "config.json").write_text(json.dumps({"model_type": "scripted"}))
    learnt = {"contains": "Add two", "answers": [RIGHT if helps else WRONG], "adapter_id": "*"}
    script = [learnt, {"contains": "Add two", "answers": [WRONG]}]
    (model / "script.json").write_text(json.dumps(script))
    return load_config(
        home=folder / "home",
        base_model=str(model),
        idle_seconds=idle_seconds,
        exclusive=exclusive,
        evaluation=BY_HELD_OUT_TASKS,
        consolidation={**CALM, **changes},
    )


async def record_tasks(client: EngineClient, numbers: range) -> None:
    """Record a solved task for each number."""
    for number in numbers:
        await client.record(draft(number, test_suite=ADD_TESTS))


def rows(config: RuneConfig, query: str) -> list[dict[str, Any]]:
    """What a query answers, straight from the file; nothing before there is one."""
    if not config.database_path.exists():
        return []
    with closing(sqlite3.connect(config.database_path, timeout=60)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]


def jobs(config: RuneConfig, kind: str) -> list[dict[str, Any]]:
    """Every job of a kind, oldest first."""
    found = rows(config, f"SELECT * FROM jobs WHERE kind = '{kind}' ORDER BY created_at")
    return [{**job, "params": json.loads(job["params"])} for job in found]


def adapters(config: RuneConfig) -> list[dict[str, Any]]:
    return rows(config, "SELECT * FROM adapter_records ORDER BY created_at")


def decisions(config: RuneConfig, decision: str) -> list[dict[str, Any]]:
    """The payloads of decisions of one sort, oldest first."""
    found = rows(
        config,
        "SELECT payload FROM lifecycle_events WHERE kind = 'consolidation_decided' ORDER BY seq",
    )
    payloads = [json.loads(event["payload"]) for event in found]
    return [payload for payload in payloads if payload["decision"] == decision]


def events(config: RuneConfig, *kinds: str) -> list[str]:
    """The kinds of events, of these kinds, in their order."""
    found = rows(config, "SELECT kind FROM lifecycle_events ORDER BY seq")
    return [event["kind"] for event in found if event["kind"] in kinds]
