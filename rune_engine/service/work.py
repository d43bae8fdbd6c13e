"""What each kind of job does in this engine, how many at once, and whether it serves or trains."""

from __future__ import annotations

from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs.consolidate import Consolidate
from rune_engine.jobs.distill import Distill
from rune_engine.jobs.evaluate import Evaluate
from rune_engine.jobs.evolve import Evolve
from rune_engine.jobs.import_file import ImportFile
from rune_engine.jobs.judging import Judging
from rune_engine.jobs.lease import AcceleratorLease, Serves, ServesAfterTraining, Trains
from rune_engine.jobs.merging import Merging
from rune_engine.jobs.run_task import RunTask
from rune_engine.jobs.runner import Work
from rune_engine.jobs.similarity import Similarities
from rune_engine.jobs.standing import Standings
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.trainer import Trainers
from rune_engine.jobs.widening import Widening
from rune_engine.jobs.winners import Winners
from rune_engine.models import JobKind
from rune_engine.registry import AdapterRegistry
from rune_engine.routing import Router
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
    "consolidate": 1,
}


def work_of(
    config: RuneConfig,
    database: Database,
    *,
    registry: AdapterRegistry,
    router: Router,
    trajectories: TrajectoryStore,
    jobs: JobStore,
    providers: ProviderPool,
    sandbox: Sandbox,
    lease: AcceleratorLease,
    trainers: Trainers,
) -> dict[JobKind, Work]:
    """The work of every kind of job."""
    merging = Merging(config, registry, trajectories, trainers)
    standings, winners = Standings(database), Winners(database, registry, jobs)
    judging = Judging(
        config,
        providers=providers,
        trajectories=trajectories,
        sandbox=sandbox,
        jobs=jobs,
        lease=lease,
    )
    evaluate = Evaluate(
        config,
        database,
        providers,
        registry=registry,
        trajectories=trajectories,
        sandbox=sandbox,
        jobs=jobs,
        trainers=trainers,
    )
    return {
        "run_task": Serves(lease, RunTask(providers, registry, router, trajectories, sandbox)),
        "distill": Trains(lease, Distill(config, registry, trajectories, trainers, jobs)),
        "evaluate": ServesAfterTraining(
            lease, evaluate.prepare, evaluate, lambda job: bool(job.params.get("folds"))
        ),
        "evolve": Evolve(
            config.evolution,
            database,
            registry=registry,
            jobs=jobs,
            widening=Widening(registry, standings, judging, winners),
            similarities=Similarities(registry, merging, config.jobs_path),
        ),
        "import": ImportFile(config, trajectories, jobs),
        "consolidate": Consolidate(
            config,
            registry=registry,
            standings=standings,
            merging=merging,
            judging=judging,
            winners=winners,
            lease=lease,
        ),
    }
