"""Fills a registry with adapter rows: metadata only, for measuring calls that read no weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sqlalchemy import insert

from rune_engine.config import load_config
from rune_engine.database import open_database, utc_now
from rune_engine.registry.records import AdapterRecord

PROJECTS = 20
DOMAINS = 4


def fill_registry(home: Path, adapters: int) -> list[str]:
    """Add `adapters` rows to the database of `home`, in one transaction; returns their ids."""
    database = open_database(load_config(home=home))
    rows = [_record(number).model_dump() for number in range(adapters)]
    try:
        with database.writing() as session:
            session.execute(insert(AdapterRecord), rows)
    finally:
        database.close()
    return [row["id"] for row in rows]


def _record(number: int) -> AdapterRecord:
    adapter_id = f"adapter-{number:06}"
    return AdapterRecord(
        id=adapter_id,
        version=1,
        task_type="feature-impl",
        base_model_id="scripted",
        rank=8,
        created_at=utc_now(),
        file_path=f"adapters/{adapter_id}/adapter_model.safetensors",
        file_hash=hashlib.sha256(adapter_id.encode()).hexdigest(),
        file_size_bytes=1_000_000,
        config_hash=hashlib.sha256(b"config").hexdigest(),
        pass_rate=(number % 100) / 100,
        fitness_score=(number % 97) / 97,
        source="distillation",
        session_id=f"session-{number // 10}",
        hierarchy_level=("project", "domain", "task")[number % 3],
        domain=f"domain-{number % DOMAINS}",
        project_id=f"project-{number % PROJECTS}",
    )
