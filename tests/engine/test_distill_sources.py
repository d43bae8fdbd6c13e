"""What an adapter learnt from is written down with it, and what is kept back is not learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from engine_support import base_model_folder, draft, finished

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import (
    NotFoundError,
    NothingToDistillError,
    TrajectoryForgottenError,
    TrajectoryNotFoundError,
)
from rune_engine.forgetting import Forgetting
from rune_engine.models import DistillParams, ForgetParams
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


async def test_what_is_kept_back_is_noted_and_not_trained_on(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    ids = [(await client.record(draft(number))).trajectory_id for number in range(3)]
    given = {"project_id": "shop", "base_model": str(base_model_folder(tmp_path))}
    with pytest.raises(NothingToDistillError, match="kept back"):
        await client.distill(DistillParams(**given, kept_back_ids=ids))
    with pytest.raises(TrajectoryNotFoundError):
        await client.distill(DistillParams(**given, kept_back_ids=["nope"]))
    job = await finished(
        client, await client.distill(DistillParams(**given, kept_back_ids=[ids[1]]))
    )
    assert job.result is not None, job.error
    assert (job.result["trajectories"], job.result["examples"]) == (2, 2)
    database = open_database(config)
    roles = AdapterRegistry(database, config).learnt_from(job.result["adapter_id"])
    database.close()
    assert roles == {ids[0]: "trained", ids[1]: "kept_back", ids[2]: "trained"}


def test_an_adapter_that_learnt_from_what_was_erased_meanwhile_is_not_stored(
    config: RuneConfig,
) -> None:
    database = open_database(config)
    registry, store = AdapterRegistry(database, config), TrajectoryStore(database)
    erased, _ = store.record(draft(0))
    kept, _ = store.record(draft(1, project_id="other"))
    Forgetting(database, config).forget(ForgetParams(project_id="shop"))
    with pytest.raises(TrajectoryForgottenError):
        registry.store(
            adapter_draft(id="late"),
            weights(),
            learnt_from={erased.id: "trained", kept.id: "trained"},
        )
    with pytest.raises(NotFoundError):
        registry.retrieve_by_id("late")
    stored = registry.store(adapter_draft(), weights(), learnt_from={kept.id: "kept_back"})
    assert registry.learnt_from(stored.id) == {kept.id: "kept_back"}
    database.close()
