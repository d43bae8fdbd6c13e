"""What each kind of job does in this engine, how many at once, and whether it serves or trains."""

from __future__ import annotations

from rune_engine.config import RuneConfig
from rune_engine.events import EventLog
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs.distill import Distill
from rune_engine.jobs.evaluate import Evaluate
from rune_engine.jobs.evolve import Evolve
from rune_engine.jobs.import_file import ImportFile
from rune_engine.jobs.lease import AcceleratorLease, Serves, Trains
from rune_engine.jobs.mine import Mine
from rune_engine.jobs.run_task import RunTask
from rune_engine.jobs.runner import Work
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import JobKind
from rune_engine.registry import AdapterRegistry
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore

TASKS_AT_ONCE = 8
"""Each waits for the model most of its time, and the provider batches."""

CAPACITY: dict[JobKind, int] = {
    "run_task": TASKS_AT_ONCE,
    "distill": 1,
    "evaluate": 1,
    "evolve": 1,
    "import": 1,
    "mine": 1,
}


def work_of(
    config: RuneConfig,
    *,
    registry: AdapterRegistry,
    trajectories: TrajectoryStore,
    jobs: JobStore,
    events: EventLog,
    providers: ProviderPool,
    sandbox: Sandbox,
    lease: AcceleratorLease,
    trainers: Trainers,
) -> dict[JobKind, Work]:
    """The work of every kind of job."""
    return {
        "run_task": Serves(lease, RunTask(providers, registry, trajectories, sandbox)),
        "distill": Trains(lease, Distill(config, registry, trajectories, trainers, jobs)),
        "evaluate": Serves(lease, Evaluate(providers, registry, trajectories, sandbox, jobs)),
        "evolve": Evolve(registry, trajectories, jobs, events),
        "import": ImportFile(config, trajectories, jobs),
        "mine": Mine(config, trajectories, sandbox, jobs),
    }
