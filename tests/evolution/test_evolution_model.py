"""Any sequence of operations: the events explain the state, lineage has no circle, undo undoes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from evolution_house import House
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rune_engine.config import load_config
from rune_engine.consolidation.guarding import Guard
from rune_engine.database import open_database
from rune_engine.doctor import examine
from rune_engine.errors import AdapterForgottenError, ConflictError
from rune_engine.models import AdapterInfo
from rune_engine.registry import AdapterFilter

LEVELS = st.sampled_from(
    [
        {"hierarchy_level": "project"},
        {"hierarchy_level": "domain", "domain": "web"},
        {"hierarchy_level": "task", "domain": "web", "task_type": "bug-fix"},
    ]
)


class EvolutionMachine(RuleBasedStateMachine):
    """Evolution, its users and the guard over one home."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        limits = {"max_adapters": 3, "unused_days": 0.0}
        self.config = load_config(home=self.folder, evolution=limits)
        self.database = open_database(self.config)
        self.house = House(self.config, self.database)
        self.made = 0

    def teardown(self) -> None:
        self.database.close()
        assert examine(self.config).findings == []
        shutil.rmtree(self.folder)

    def adapters(self) -> list[AdapterInfo]:
        return self.house.registry.list_all()

    def one_of(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(adapter.id for adapter in self.adapters())))

    @rule(level=LEVELS, seed=st.integers(0, 3), data=st.data())
    def store(self, level: dict[str, Any], seed: int, data: st.DataObject) -> None:
        known = [adapter.id for adapter in self.adapters()]
        parents = data.draw(st.sets(st.sampled_from(known), max_size=2)) if known else set()
        name = f"a{self.made}"
        self.made += 1
        self.house.adapter(name, seed=seed, parent_ids=sorted(parents), **level)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), solved=st.integers(0, 8), base=st.integers(0, 4))
    def measure(self, data: st.DataObject, solved: int, base: int) -> None:
        self.house.measure(self.one_of(data), solved=solved, base=base)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), solved=st.integers(0, 8), failed=st.integers(0, 8))
    def live(self, data: st.DataObject, solved: int, failed: int) -> None:
        self.house.live(self.one_of(data), solved=solved, failed=failed, domain="web")

    @rule()
    def guard(self) -> None:
        before = self.house.in_use()
        demoted = Guard(self.database, self.config.evolution)()
        assert self.house.in_use() == before - set(demoted)

    @rule()
    def evolve(self) -> None:
        before = self.house.in_use()
        plan = asyncio.run(self.house.work().plan("shop"))
        assert self.house.in_use() == before
        result = asyncio.run(self.house.evolve_project())
        gone = {each for step in plan.steps for each in step.archive}
        assert set(result.archived) == gone and self.house.in_use() == before - gone
        # What was decided leaves nothing of the same to decide.
        again = asyncio.run(self.house.evolve_project())
        assert again.archived == []

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def judge(self, data: st.DataObject) -> None:
        asyncio.run(self.house.evolve(self.one_of(data)))

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def archive(self, data: st.DataObject) -> None:
        self.house.registry.archive(self.one_of(data), reason="so")

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name = self.one_of(data)
        forgotten = self.house.registry.retrieve_by_id(name).forgotten_at
        try:
            assert not self.house.registry.restore(name).is_archived
        except AdapterForgottenError:
            assert forgotten

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        self.house.registry.forget([self.one_of(data)])

    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        kinds = ("evolution_decided", "consolidation_decided")
        decided = [seq for kind in kinds for seq in (e.seq for e in self.house.decisions(kind))]
        if not decided:
            return
        seq, before = data.draw(st.sampled_from(decided)), self.house.in_use()
        try:
            undone = self.house.undo(seq)
        except ConflictError:
            return  # it had changed nothing
        assert self.house.undo(seq) == undone
        if undone.restored or undone.archived:
            after = self.house.in_use()
            assert after <= (before | set(undone.restored)) - set(undone.archived) | before

    @rule()
    def reopen(self) -> None:
        self.database.close()
        self.database = open_database(self.config)
        tasks = self.house.tasks
        self.house = House(self.config, self.database, tasks=0)
        self.house.tasks = tasks

    @invariant()
    def nobody_descends_from_itself(self) -> None:
        parents = {adapter.id: adapter.parent_ids for adapter in self.adapters()}
        order = [adapter.id for adapter in reversed(self.adapters())]
        for adapter_id, named in parents.items():
            assert all(order.index(each) < order.index(adapter_id) for each in named)

    @invariant()
    def what_is_archived_is_never_routed(self) -> None:
        for level in ("project", "domain", "task"):
            found = self.house.registry.best(
                AdapterFilter(project_id="shop", hierarchy_level=level, include_archived=True)  # type: ignore[arg-type]
            )
            assert found is None or found.id in self.house.in_use()

    @invariant()
    def exactly_the_recorded_events_explain_the_state(self) -> None:
        assert examine(self.config).findings == []


TestEvolutionMachine = EvolutionMachine.TestCase
TestEvolutionMachine.settings = settings(
    max_examples=8,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
