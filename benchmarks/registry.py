"""What the stores cost next to bare `sqlite3`, and whether that grows with what they hold.

    python -m benchmarks.registry --json registry.json

Two comparisons, both interleaved call by call in one process, so that they hold on any machine:

* `query_best_for_task` with 1,000, 10,000 and 100,000 adapters, next to one prepared statement on
  one open connection to the same file, which selects the same columns through the same index.
  Promised: at most 3 times its p99, whatever the size.
* recording a typical trajectory, next to a transaction that inserts the same rows into the same
  tables and indexes, committed as durably (WAL, synchronous FULL). Promised: at most 1.5 times.
  What is between them is the checks, the hash and the search for what looks faked: time of the
  processor, so the faster the disk is, the larger the ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.adapter_rows import PROJECTS, fill_registry
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.models import Attempt, TrajectoryDraft
from rune_engine.registry import AdapterRegistry, queries
from rune_engine.registry.records import AdapterFilter
from rune_engine.trajectories import TrajectoryStore

SIZES = (1_000, 10_000, 100_000)
QUERIES = 5_000
RECORDS = 1_000
WARM_UP = 50

Calls = dict[str, Callable[[int], object]]


def interleaved(calls: Calls, rounds: int) -> dict[str, dict[str, float]]:
    """Time every call once a round, in random order: figures in microseconds.

    `cpu_p99` is of the thread's processor time: on a busy machine the other p99 tells of the rest
    of the machine.
    """
    rng, taken = random.Random(0), {name: [] for name in calls}
    for number in range(WARM_UP + rounds):
        for name in rng.sample(sorted(calls), len(calls)):
            started, worked = time.perf_counter(), time.thread_time()
            calls[name](number)
            worked, ended = time.thread_time() - worked, time.perf_counter()
            taken[name].append((ended - started, worked))
    return {name: _figures(times[WARM_UP:]) for name, times in taken.items()}


def _figures(times: list[tuple[float, float]]) -> dict[str, float]:
    taken, worked = (sorted(column) for column in zip(*times, strict=True))
    return {
        "p50_us": taken[len(taken) // 2] * 1e6,
        "p99_us": taken[len(taken) * 99 // 100] * 1e6,
        "min_us": taken[0] * 1e6,
        "cpu_p99_us": worked[len(worked) * 99 // 100] * 1e6,
    }


def measure_queries(folder: Path, adapters: int, rounds: int) -> dict[str, Any]:
    """`query_best_for_task` among so many adapters, and the bare query."""
    home = folder / f"home-{adapters}"
    fill_registry(home, adapters)
    config = load_config(home=home)
    database = open_database(config)
    registry = AdapterRegistry(database, config)
    wanted = AdapterFilter(project_id="p", task_type="feature-impl", base_model_id="scripted")
    statement, _ = queries.best(wanted)
    bare = sqlite3.connect(config.database_path, isolation_level=None)

    def ask_rune(number: int) -> object:
        project = f"project-{number % PROJECTS}"
        return registry.query_best_for_task(
            "feature-impl", project_id=project, base_model_id="scripted"
        )

    def ask_bare(number: int) -> object:
        values = (f"project-{number % PROJECTS}", "feature-impl", "scripted")
        return bare.execute(statement, values).fetchone()

    figures = interleaved({"rune": ask_rune, "bare": ask_bare}, rounds)
    bare.close()
    database.close()
    return {"adapters": adapters, **_compared(figures)}


def measure_recording(folder: Path, rounds: int) -> dict[str, Any]:
    """`TrajectoryStore.record`, and a bare transaction of the same bytes."""
    config = load_config(home=folder / "home-recording")
    database = open_database(config)
    store = TrajectoryStore(database)
    bare = _bare_tables(folder / "bare.db", config.database_path)

    def record(number: int) -> object:
        return store.record(typical_trajectory(number))

    def insert(number: int) -> object:
        # The draft is made here too: it is the caller's work, not the store's.
        return _insert_bare(bare, typical_trajectory(number))

    figures = interleaved({"rune": record, "bare": insert}, rounds)
    bare.close()
    database.close()
    return _compared(figures)


def typical_trajectory(number: int) -> TrajectoryDraft:
    """Three attempts at a function of 20 lines, the last one passes: about 6 kB of text."""
    rng = random.Random(number)
    body = "".join(f"    total += weigh(values[{n}], {rng.randrange(1000)})\n" for n in range(17))
    attempts = [
        Attempt(
            generated_code=f"def solve(values):\n    total = {n}\n{body}    return total\n",
            stdout="collected 12 items\n" + "tests/test_solve.py ............ [100%]\n" * 8,
            stderr="" if n == 2 else "Traceback (most recent call last):\n" + "  File\n" * 40,
            exit_code=0 if n == 2 else 1,
            tests_passed=n == 2,
        )
        for n in range(3)
    ]
    return TrajectoryDraft(
        project_id=f"project-{number % PROJECTS}",
        task_description=f"Write solve_{number}, which weighs the values of a list. " * 8,
        test_suite=f"def test_it():\n    assert solve_{number}([1] * 40) > 0\n" * 10,
        attempts=attempts,
        outcome="success",
    )


def _bare_tables(path: Path, like: Path) -> sqlite3.Connection:
    """The same tables and indexes, without the triggers that make rows write-once."""
    bare = sqlite3.connect(path, isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("ATTACH ? AS rune", (str(like),))
    wanted = "tbl_name IN ('sessions', 'trajectories', 'attempts') AND type <> 'trigger'"
    query = f"SELECT sql FROM rune.sqlite_master WHERE {wanted} AND sql IS NOT NULL ORDER BY rowid"
    for (statement,) in bare.execute(query).fetchall():
        bare.execute(statement)
    bare.execute("DETACH rune")
    return bare


def _insert_bare(bare: sqlite3.Connection, draft: TrajectoryDraft) -> None:
    identity, session = str(uuid.uuid4()), str(uuid.uuid4())
    now, digest = "2026-01-01T00:00:00.000000+00:00", identity[:32] + session[:32]
    trajectory = (
        *(identity, session, draft.project_id, draft.domain, draft.task_type),
        *(draft.task_description, draft.test_suite, draft.outcome, 0, 1, None, None),
        *(draft.source, digest, now, None),
    )
    bare.execute("BEGIN IMMEDIATE")
    bare.execute("INSERT INTO sessions VALUES (?, ?, NULL, ?)", (session, draft.project_id, now))
    bare.execute(f"INSERT INTO trajectories VALUES ({', '.join('?' * 16)})", trajectory)
    for position, attempt in enumerate(draft.attempts):
        texts = (attempt.generated_code, attempt.stdout, attempt.stderr)
        row = (identity, position, *texts, attempt.exit_code, attempt.tests_passed, None)
        bare.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    bare.execute("COMMIT")


def _compared(figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    rune, bare = figures["rune"], figures["bare"]
    ratios = {name.replace("_us", "_ratio"): rune[name] / bare[name] for name in rune}
    return {**ratios, "rune": rune, "bare": bare}


def _line(title: str, row: dict[str, Any]) -> str:
    parts = (
        f"{name} {row['rune'][f'{name}_us']:,.0f} us / {row['bare'][f'{name}_us']:,.0f} us"
        f" = {row[f'{name}_ratio']:.2f}"
        for name in ("p50", "p99", "cpu_p99")
    )
    return f"{title:<28} {'   '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="The stores next to bare sqlite3.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--folder", type=Path, help="On the disk to measure.")
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rune-bench-", dir=given.folder) as folder:
        asked = [measure_queries(Path(folder), size, given.queries) for size in given.sizes]
        recorded = measure_recording(Path(folder), given.records)
    print("rune / bare")
    for row in asked:
        print(_line(f"best of {row['adapters']:,} adapters", row))
    print(_line("recording a trajectory", recorded))
    if given.json:
        given.json.write_text(json.dumps({"queries": asked, "recording": recorded}, indent=2))


if __name__ == "__main__":
    main()
