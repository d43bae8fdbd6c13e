"""Any sequence of calls: the registry behaves like a dictionary that forgets nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from adapter_files import draft, weights
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.doctor import examine
from rune_engine.errors import AdapterAlreadyExistsError, AdapterForgottenError
from rune_engine.models import AdapterInfo
from rune_engine.registry import AdapterRegistry

IDS = st.sampled_from(["a", "b", "c", "d"])
TASKS = st.sampled_from(["bug-fix", "refactor"])
RATES = st.none() | st.floats(0, 1)


class RegistryMachine(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.config = load_config(home=self.folder)
        self.database = open_database(self.config)
        self.registry = AdapterRegistry(self.database, self.config)
        self.model: dict[str, AdapterInfo] = {}

    def teardown(self) -> None:
        self.database.close()
        # Every column is what the events say, and every file what the rows say.
        assert examine(self.config).findings == []
        shutil.rmtree(self.folder)

    @rule(adapter_id=IDS, task_type=TASKS, seed=st.integers(0, 2))
    def store(self, adapter_id: str, task_type: str, seed: int) -> None:
        new = draft(id=adapter_id, task_type=task_type)
        if adapter_id in self.model:
            with pytest.raises(AdapterAlreadyExistsError):
                self.registry.store(new, weights(seed))
        else:
            self.model[adapter_id] = self.registry.store(new, weights(seed))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), pass_rate=RATES, fitness=RATES)
    def evaluate(self, data: st.DataObject, pass_rate: float | None, fitness: float | None) -> None:
        adapter_id = data.draw(st.sampled_from(sorted(self.model)))
        self.registry.update_fitness(adapter_id, pass_rate, fitness)
        changes = {"pass_rate": pass_rate, "fitness_score": fitness}
        self.model[adapter_id] = self.model[adapter_id].model_copy(update=changes)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def archive(self, data: st.DataObject) -> None:
        adapter_id = data.draw(st.sampled_from(sorted(self.model)))
        self.registry.archive(adapter_id)
        self.model[adapter_id] = self.model[adapter_id].model_copy(update={"is_archived": True})

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.model)), max_size=2))
        self.registry.forget(chosen)
        self.model |= {each: self.registry.retrieve_by_id(each) for each in chosen}
        assert all(
            self.model[each].forgotten_at and self.model[each].is_archived for each in chosen
        )

    @rule()
    def reopen(self) -> None:
        self.database.close()
        self.database = open_database(self.config)
        self.registry = AdapterRegistry(self.database, self.config)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert {a.id: a for a in self.registry.list_all()} == self.model
        for adapter_id, adapter in self.model.items():
            if adapter.forgotten_at is None:
                assert self.registry.verified_ref(adapter_id).sha256 == adapter.file_hash
            else:
                with pytest.raises(AdapterForgottenError):
                    self.registry.verified_ref(adapter_id)

    @invariant()
    def finds_the_best(self) -> None:
        for task_type in ("bug-fix", "refactor"):
            candidates = [
                adapter
                for adapter in self.model.values()
                if adapter.task_type == task_type and not adapter.is_archived
            ]
            best = max(candidates, key=_rank, default=None)
            assert self.registry.query_best_for_task(task_type) == best


def _rank(adapter: AdapterInfo) -> tuple[bool, float, str]:
    return (adapter.fitness_score is not None, adapter.fitness_score or 0.0, adapter.created_at)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
