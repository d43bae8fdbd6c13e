"""Many processes over one queue, some of them killed: no job runs twice at once, none is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from engine_support import WAIT_SECONDS, wait_until

from rune_engine.config import RuneConfig
from rune_engine.jobs.store import JobStore

WORKER = """
import os, sys, time
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.jobs.owner import this_process
from rune_engine.jobs.store import JobStore

log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
jobs = JobStore(open_database(load_config(home=sys.argv[1])))
owner = this_process()
while jobs.unfinished():
    jobs.take_up()
    job = jobs.claim(owner)
    if job is None:
        time.sleep(0.01)
        continue
    os.write(log, f"start {job.id} {job.attempt}\\n".encode())
    time.sleep(0.01)
    jobs.succeed(job, {"by": os.getpid()})
    os.write(log, f"done {job.id} {job.attempt}\\n".encode())
"""
ENQUEUE = """
import sys
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.jobs.store import JobStore
jobs = JobStore(open_database(load_config(home=sys.argv[1])))
sys.stdin.readline()
for number in range(25):
    print(jobs.enqueue("distill", {}, idempotency_key=f"key-{number}").id)
"""
JOBS, KILLS = 150, 10


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_workers_leave_no_job_stranded_and_run_none_twice(
    jobs: JobStore, config: RuneConfig, tmp_path: Path
) -> None:
    rng, log = random.Random(7), tmp_path / "log"
    log.touch()
    for _ in range(JOBS):
        jobs.enqueue("distill", {}, max_attempts=KILLS + 1)
    workers = [start(WORKER, config.home, log) for _ in range(3)]
    try:
        for _ in range(KILLS):
            seen = log.stat().st_size
            wait_until(
                lambda seen=seen: (
                    log.stat().st_size > seen + rng.randrange(600) or not jobs.unfinished()
                ),
                "the workers go on",
            )
            victim = rng.randrange(len(workers))
            workers[victim].kill()
            workers[victim].communicate(timeout=WAIT_SECONDS)
            workers[victim] = start(WORKER, config.home, log)
        wait_until(lambda: not jobs.unfinished(), "every job has ended")
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate(timeout=WAIT_SECONDS)
    assert jobs.counts() == {"succeeded": JOBS}
    lines = log.read_text().splitlines()
    starts = Counter(line for line in lines if line.startswith("start"))
    assert set(starts.values()) == {1}, "no attempt was started by two"
    done = Counter(line.split()[1] for line in lines if line.startswith("done"))
    assert set(done.values()) == {1}, "no job ended twice"
    for line in lines:
        job_id, attempt = line.split()[1:]
        assert int(attempt) <= jobs.get(job_id).attempt


def test_processes_that_ask_for_the_same_at_once_get_one_job(
    jobs: JobStore, config: RuneConfig
) -> None:
    processes = [start(ENQUEUE, config.home) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [p.communicate(timeout=WAIT_SECONDS)[0].split() for p in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert len(set(answers[0])) == 25 and jobs.counts() == {"queued": 25}
