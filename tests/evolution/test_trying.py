"""What is tried before it is decided: wider scopes, and one adapter in place of several.

The model answers from a script; the sandbox and, where adapters are merged, the trainer are real.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from engine_support import ADD_TESTS, RIGHT, draft
from evolution_house import House

from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database, open_database
from rune_engine.doctor import examine
from rune_engine.errors import AdapterBaseModelMismatchError, InvalidInputError
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs.consolidate import Consolidate
from rune_engine.jobs.judging import Judging
from rune_engine.jobs.lease import AcceleratorLease
from rune_engine.jobs.merging import Merging
from rune_engine.jobs.similarity import Similarities
from rune_engine.jobs.standing import Standings
from rune_engine.jobs.trainer import Trainers
from rune_engine.jobs.widening import Widening
from rune_engine.jobs.winners import Winners
from rune_engine.models import ConsolidateParams, EvolveParams, EvolveResult, Job
from rune_engine.sandbox.sandbox import Sandbox

WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
WEB = {"domain": "web", "hierarchy_level": "domain"}
TASKS = 12


class Trying(House):
    """A house whose adapters a model can be asked with."""

    def __init__(self, config: RuneConfig, database: Database) -> None:
        super().__init__(config, database, tasks=0)
        half = TASKS // 2
        drafts = [
            draft(n, test_suite=ADD_TESTS, domain="web" if n < half else "cli")
            for n in range(TASKS)
        ]
        self.tasks = [self.trajectories.record(each)[0].id for each in drafts]
        self.providers = ProviderPool(config)
        sandbox = Sandbox(config.sandbox)
        self.lease = AcceleratorLease(self.providers, self.events, "never")
        self.judging = Judging(
            config,
            providers=self.providers,
            trajectories=self.trajectories,
            sandbox=sandbox,
            jobs=self.jobs,
            lease=self.lease,
        )
        self.merging = Merging(config, self.registry, self.trajectories, Trainers())
        self.standings = Standings(database)

    def adapter(self, name: str, **changes: Any) -> str:
        return super().adapter(name, **({"base_model_id": "scripted"} | changes))

    def script(self, **solves: Iterable[int]) -> None:
        """Which tasks the model solves with each adapter; alone it solves none."""
        rules = [
            {
                "contains": f"Add two numbers, {number}.",
                "answers": [RIGHT],
                "adapter_id": name.replace("_", "-"),
            }
            for name, numbers in solves.items()
            for number in numbers
        ]
        path = Path(self.config.base_model.removeprefix("scripted:"))
        path.write_text(json.dumps([*rules, {"contains": "Add", "answers": [WRONG]}]))

    async def run(self, kind: Any, params: Any) -> tuple[Any, Job]:
        job = self.jobs.enqueue(kind, params)
        return await self.run_job(job)

    async def run_job(self, job: Job) -> tuple[Any, Job]:
        claimed = self.jobs.claim("1/2/3/4", [job.kind])
        assert claimed is not None and claimed.id == job.id
        result = await self.work_for(job.kind)(claimed, lambda _fraction, _message: None)
        self.jobs.succeed(claimed, result.model_dump(mode="json"))
        return result, claimed

    def work_for(self, kind: str) -> Any:
        winners = Winners(self.database, self.registry, self.jobs)
        if kind == "consolidate":
            return Consolidate(
                self.config,
                registry=self.registry,
                standings=self.standings,
                merging=self.merging,
                judging=self.judging,
                winners=winners,
                lease=self.lease,
            )
        widening = Widening(self.registry, self.standings, self.judging, winners)
        similarities = Similarities(self.registry, self.merging, self.config.jobs_path)
        return self.work(widening=widening, similarities=similarities)

    async def evolve_project(self, name: str = "shop") -> EvolveResult:
        result, _ = await self.run("evolve", EvolveParams(project_id=name))
        assert isinstance(result, EvolveResult)
        return result


@pytest.fixture
def config(tmp_path: Path) -> RuneConfig:
    script = tmp_path / "script.json"
    return load_config(home=tmp_path / "home", base_model=f"scripted:{script}")


@pytest.fixture
async def house(config: RuneConfig) -> AsyncIterator[Trying]:
    database = open_database(config)
    made = Trying(config, database)
    yield made
    await made.providers.close_all()
    database.close()
    assert examine(config).findings == []


# --- a wider scope -------------------------------------------------------------------------------


async def test_a_domains_adapter_that_helps_all_over_the_project_is_promoted(house: Trying) -> None:
    house.adapter("web", **WEB)
    house.measure("web", solved=6, tasks=6)
    house.script(web=range(10))
    result = await house.evolve_project()
    (new_id,) = result.stored
    new, old = house.registry.retrieve_by_id(new_id), house.registry.retrieve_by_id("web")
    assert (new.hierarchy_level, new.parent_ids, new.generation) == ("project", ["web"], 1)
    assert (new.file_hash, new.source) == (old.file_hash, "evolution")
    assert not old.is_archived and house.registry.learnt_from(new_id)
    (decided,) = house.decisions()
    assert decided.payload["decision"] == "promoted"
    assert decided.payload["numbers"]["against_base"]["interval"][0] > 0
    assert house.evaluations.latest(new_id) is not None
    assert [job.params["adapter_id"] for job in house.jobs.unfinished()] == [new_id]
    # It is asked once, and taken back as a whole.
    assert (await house.evolve_project()).steps == []
    assert house.undo(decided.seq).archived == [new_id]
    assert (await house.evolve_project()).steps == []


async def test_one_that_helps_in_its_own_domain_alone_is_not(house: Trying) -> None:
    house.adapter("web", **WEB)
    house.measure("web", solved=6, tasks=6)
    house.script(web=range(3))
    result = await house.evolve_project()
    assert result.stored == [] and [step.decision for step in result.steps] == ["not_promoted"]
    (decided,) = house.decisions()
    assert decided.payload["numbers"]["against_base"]["interval"][0] <= 0
    assert (await house.evolve_project()).steps == []
    # More to judge by asks again.
    house.trajectories.record(draft(99, test_suite=ADD_TESTS, held_out=True))
    assert [step.decision for step in (await house.evolve_project()).steps] == ["not_promoted"]


async def test_whoever_is_there_has_to_be_beaten_too(house: Trying) -> None:
    house.adapter("web", **WEB)
    house.measure("web", solved=6, tasks=6)
    house.adapter("wide")
    house.measure("wide", solved=range(1, 11), tasks=12)
    house.script(web=range(12), wide=range(1, 12))
    result = await house.evolve_project()
    assert [step.decision for step in result.steps] == ["not_promoted"]
    assert "wide" in house.decisions()[0].payload["numbers"]["against_incumbents"]


# --- one in place of several ---------------------------------------------------------------------


def candidate_of(job: Job) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"rune:merge:{job.id}"))


async def test_a_merge_that_beats_both_parents_takes_their_place_and_can_be_undone(
    house: Trying,
) -> None:
    house.adapter("web", **WEB)
    house.adapter("cli", domain="cli", hierarchy_level="domain")
    params = ConsolidateParams(adapter_ids=["web", "cli"], method="linear")
    job = house.jobs.enqueue("consolidate", params)
    merged = candidate_of(job)
    house.script(**{"web": range(6), "cli": range(6, 12), merged: range(12)})
    result, claimed = await house.run_job(job)
    assert (result.adapter_id, result.archived) == (merged, ["cli", "web"])
    # An engine that died after its decision is answered what was decided.
    work = house.work_for("consolidate")
    assert await work(claimed, lambda _fraction, _message: None) == result
    new = house.registry.retrieve_by_id(merged)
    assert (new.hierarchy_level, new.parent_ids, new.generation) == ("project", ["web", "cli"], 1)
    assert house.in_use() == {merged}
    (decided,) = house.decisions()
    assert decided.payload["numbers"]["against_parents"]["web"]["interval"][0] > 0
    assert house.undo(decided.seq).restored == ["cli", "web"]
    assert house.in_use() == {"web", "cli"}


async def test_one_that_does_not_is_not_stored_and_the_parents_stay(house: Trying) -> None:
    house.adapter("web", **WEB)
    house.adapter("cli", domain="cli", hierarchy_level="domain")
    params = ConsolidateParams(adapter_ids=["web", "cli"], method="linear")
    job = house.jobs.enqueue("consolidate", params)
    house.script(**{"web": range(6), "cli": range(6, 12), candidate_of(job): range(10)})
    result, _ = await house.run_job(job)
    assert (result.adapter_id, result.archived) == (None, [])
    assert house.in_use() == {"web", "cli"} and len(house.registry.list_all()) == 2
    assert house.decisions()[0].payload["decision"] == "not_consolidated"


async def test_adapters_that_are_alike_are_tried_together_once(house: Trying) -> None:
    """The trainer compares their weights; the job that tries them waits in the queue."""
    settings = house.config.evolution.model_copy(update={"least_similarity": -1.0})
    house.config = house.config.model_copy(update={"evolution": settings})
    house.adapter("one", seed=1, hierarchy_level="domain", domain="cli")
    house.adapter("other", seed=2, hierarchy_level="domain", domain="web")
    house.measure("one", solved=range(8), tasks=12)
    house.measure("other", solved=range(8), tasks=12)
    house.script()
    result = await house.evolve_project()
    step = next(step for step in result.steps if step.decision == "try_together")
    assert -1.0 <= step.numbers["similarity"] <= 1.0 and step.numbers["agreement"] == 1.0
    (job,) = house.jobs.unfinished()
    assert job.kind == "consolidate" and job.params["adapter_ids"] == ["one", "other"]
    again = await house.evolve_project()
    assert all(step.operation != "consolidate" for step in again.steps)


async def test_what_cannot_become_one_is_refused_before_anything_is_made(house: Trying) -> None:
    house.adapter("one")
    house.adapter("foreign", project_id="bank")
    house.adapter("elsewhere", base_model_id="other")
    house.adapter("gone")
    house.registry.archive("gone")
    house.script()
    for other, error in (
        ("foreign", InvalidInputError),
        ("elsewhere", AdapterBaseModelMismatchError),
        ("gone", InvalidInputError),
    ):
        house.jobs.enqueue("consolidate", ConsolidateParams(adapter_ids=["one", other]))
        claimed = house.jobs.claim("1/2/3/4", ["consolidate"])
        assert claimed is not None
        with pytest.raises(error):
            await house.work_for("consolidate")(claimed, lambda _fraction, _message: None)
        house.jobs.fail(claimed, {"code": "conflict", "message": "refused"})
    assert house.decisions() == []
