"""`kill -9` of a process that evolves a home: a decision and what follows are there, or neither.

    python evolution_kills.py --kills 40    (with this checkout and its tests on PYTHONPATH)

Prints what it did as JSON. The killed process decides, promotes, takes back, archives and restores
in random order; one that was not there before looks at what is left, and goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import homes
from adapter_files import draft as adapter_draft
from adapter_files import weights
from evolution_house import House
from forks import Say, call, start, void

from rune_engine.config import load_config
from rune_engine.consolidation.guarding import Guard
from rune_engine.database import open_database
from rune_engine.doctor import examine
from rune_engine.errors import ConflictError
from rune_engine.jobs.decisions import carry_out
from rune_engine.models import EvolutionStep

LEAST_SECONDS = 0.05
"""Of an operation, on a machine that is at rest."""
LEFT_BY_KILLS = {"orphan", "stray", "log_left"}
"""What may be found of a writer that never came to its row."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with homes.scratch() as folder:
        home, chance = folder / "home", random.Random(given.seed)
        tasks = call(lambda: _begin(home))
        done = killed = 0
        for _ in range(given.kills):
            seed = chance.randrange(2**31)
            child = start(lambda say, seed=seed: _live(home, tasks, seed, say))
            assert child.line() == "begun"
            # One that is killed in an operation has done up to two before: the machine sets the
            # pace, so that a slow one is not killed before anything happens.
            began, before = time.monotonic(), chance.randint(0, 2)
            assert all(child.line() for _ in range(before))
            pace = max(LEAST_SECONDS, (time.monotonic() - began) / max(1, before))
            time.sleep(chance.uniform(0, pace))
            child.kill()
            done += before + len(child.end())
            killed += child.exit_code == -9
            decisions = call(lambda: _check(home))
        print(json.dumps({"kills": killed, "operations": done, "decisions": decisions}))


@contextmanager
def _opened(home: Path, tasks: list[str] | None = None) -> Iterator[House]:
    config = load_config(home=home)
    database = open_database(config)
    try:
        house = House(config, database, tasks=8 if tasks is None else 0)
        house.tasks = house.tasks if tasks is None else tasks
        yield house
    finally:
        database.close()


def _begin(home: Path) -> list[str]:
    with _opened(home) as house:
        for number in range(4):
            house.adapter(f"first-{number}", seed=number)
            house.measure(f"first-{number}", solved=8 if number == 0 else number)
        return house.tasks


def _live(home: Path, tasks: list[str], seed: int, say: Say) -> None:
    """Do one thing after another until somebody ends it."""
    chance = random.Random(seed)
    with _opened(home, tasks) as house:
        say("begun")
        while True:
            operation = chance.choice([_evolve, _guard, _store, _promote, _undo, _steer])
            operation(house, chance)
            say(operation.__name__)


def _evolve(house: House, chance: random.Random) -> None:
    house.measure(_one(house, chance), solved=chance.randint(0, 8), base=chance.randint(0, 4))
    void(asyncio.run(house.evolve_project()))


def _guard(house: House, chance: random.Random) -> None:
    house.live(_one(house, chance), solved=0, failed=3)
    void(Guard(house.database, house.config.evolution)())


def _store(house: House, chance: random.Random) -> None:
    name = f"a{chance.getrandbits(64):x}"
    house.adapter(name, seed=chance.randint(0, 5))
    house.measure(name, solved=chance.randint(0, 8), base=chance.randint(0, 2))
    void(asyncio.run(house.evolve(name)))


def _promote(house: House, chance: random.Random) -> None:
    """As a promotion stores its row: in one transaction with its decision."""
    old = house.registry.retrieve_by_id(_one(house, chance))
    new_id = f"p{chance.getrandbits(64):x}"
    step = EvolutionStep(
        operation="promote",
        decision="promoted",
        adapter_ids=[old.id],
        archive={old.id: "It is part of another."} if chance.random() < 0.5 else {},
        stored=[new_id],
        reason="It won.",
        numbers={"level": "project", "held_out": 0},
    )
    given = adapter_draft(
        id=new_id, project_id="shop", parent_ids=[old.id], base_model_id=old.base_model_id
    )
    as_of = house.database.query("SELECT max(seq) FROM lifecycle_events")[0][0]
    house.registry.store(
        given,
        weights(chance.randint(0, 5)),
        decided=lambda session: void(
            carry_out(session, step, project_id="shop", caused_by="user", as_of=as_of)
        ),
    )


def _undo(house: House, chance: random.Random) -> None:
    decided = [event.seq for event in house.decisions()]
    if decided:
        try:
            house.undo(chance.choice(decided))
        except ConflictError:
            return


def _steer(house: House, chance: random.Random) -> None:
    if chance.random() < 0.5:
        house.registry.archive(_one(house, chance))
    else:
        house.registry.restore(_one(house, chance))


def _one(house: House, chance: random.Random) -> str:
    return chance.choice([adapter.id for adapter in house.registry.list_all()])


# --- what must hold -------------------------------------------------------------------------------


def _check(home: Path) -> int:
    """Every event explains the rows, every decision was carried out, every file is whole."""
    config = load_config(home=home)
    found = {finding.kind for finding in examine(config).findings}
    assert found <= LEFT_BY_KILLS, f"a kill has left {found}"
    with _opened(home, []) as house:
        house.registry.sweep()
        for adapter in house.registry.list_all():
            assert house.registry.verified_ref(adapter.id).sha256 == adapter.file_hash
        void(asyncio.run(house.evolve_project()))
    assert examine(config).findings == []
    with closing(sqlite3.connect(config.database_path)) as database:
        return _carried_out(database)


def _carried_out(database: sqlite3.Connection) -> int:
    """How many decisions there are; each has all that follows from it."""
    told = [
        (seq, kind, subject, json.loads(payload))
        for seq, kind, subject, payload in database.execute(
            "SELECT seq, kind, subject, payload FROM lifecycle_events ORDER BY seq"
        )
    ]
    rows = {row[0] for row in database.execute("SELECT id FROM adapter_records")}
    in_use: set[str] = set()
    decisions = 0
    for seq, kind, subject, payload in told:
        if kind == "evolution_decided":
            decisions += 1
            followed = {s for _, k, s, p in told if p.get("decision") == seq and k != kind}
            assert set(payload["archive"]) & in_use <= followed, f"event {seq} was not carried out"
            assert set(payload["stored"]) <= rows, f"what event {seq} stored is not there"
        elif kind in ("adapter_stored", "adapter_restored"):
            in_use.add(subject)
        elif kind == "adapter_archived":
            in_use.discard(subject)
    return decisions


if __name__ == "__main__":
    main()
