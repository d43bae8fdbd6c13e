"""Whether the router finds the right adapter, or none, among 10,000, and how long it takes.

    python -m benchmarks.routing --json routing.json

Generated projects that no model has seen were taught a dozen sessions each; then tasks come that no
session contains. Promised, at 10,000 adapters: the right project's adapter first for 99 % of the
tasks when their project is named and for 90 % when only their text is, none for 95 % of the tasks
of projects that nobody was taught, and a median below 10 ms. Each task's text names its package, as
people do; what becomes of it where that is taken out is told beside it, and so are smaller homes.

The thresholds were chosen on the seeds from 4,000,000 on (`--seed 4000000 --curve`).
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.routing_worlds import (
    BASE_MODEL,
    KINDS,
    Question,
    World,
    fill,
    make_strangers,
    make_worlds,
    questions,
)
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.registry import AdapterFilter, AdapterRegistry, queries
from rune_engine.routing import Router

SEED = 5_000_000
PROMISED = {"named project": 0.99, "text alone": 0.90, "strangers": 0.95, "p50_ms": 10.0}


def measure(folder: Path, worlds: Sequence[World], strangers: Sequence[World], each: int) -> Any:
    """Every figure of one home."""
    home = folder / f"home-{len(worlds)}"
    adapters = fill(home, worlds)
    config = load_config(home=home)
    database = open_database(config)
    router = Router(AdapterRegistry(database, config))
    asked = [world for world in worlds if world.asked]
    started = time.process_time()
    router.retrieve(None, "general", "feature-impl", BASE_MODEL, "the first question")
    first = time.process_time() - started
    found: dict[str, Any] = {
        "adapters": adapters,
        "projects": len(worlds),
        "first_question_cpu_s": first,
        "named project": _named(router, asked, each),
        "a stranger's name": _share(
            router.retrieve(each.id, "general", "feature-impl", BASE_MODEL, text).adapter is None
            for each in strangers
            for text in each.asked[KINDS[0]][:1]
        ),
    }
    for title, named in (("text", True), ("text without the package's name", False)):
        found[title] = _by_text(router, questions(asked, strangers, each, named=named))
    texts = questions(asked, strangers, each, named=True)
    found["times"] = _times(router, config.database_path, texts)
    database.close()
    return found


def _named(router: Router, asked: Sequence[World], each: int) -> dict[str, float]:
    """How often a named project's adapter, of the right level, came first."""
    right: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for world in asked:
        for kind, texts in world.asked.items():
            for text, task_type in zip(
                texts[:each], cycle(("feature-impl", "bug-fix")), strict=False
            ):
                got = router.retrieve(world.id, world.domain, task_type, BASE_MODEL, text)
                right[kind].append(got.adapter is not None and got.adapter.project_id == world.id)
    return {kind: _share(of) for kind, of in right.items()}


def _by_text(router: Router, asked: Sequence[Question]) -> dict[str, dict[str, float]]:
    """Of each kind of question: how often the right project's adapter, another's, or none."""
    counts: dict[str, Counter[str]] = {}
    for question in asked:
        got = router.retrieve(None, "general", "feature-impl", BASE_MODEL, question.text).adapter
        whose = question.kind if question.project else f"strangers: {question.kind}"
        right = question.project is not None and got is not None
        right = right and got.project_id == question.project.id
        outcome = "none" if got is None else "right" if right else "wrong"
        counts.setdefault(whose, Counter())[outcome] += 1
    return {
        whose: {name: n[name] / n.total() for name in ("right", "wrong", "none")} | {"n": n.total()}
        for whose, n in counts.items()
    }


def _times(router: Router, database: Path, asked: Sequence[Question]) -> dict[str, float]:
    """Milliseconds of the router by text, by project and text, and of a bare indexed query."""
    bare = sqlite3.connect(database, isolation_level=None)
    whole = AdapterFilter(project_id="p", base_model_id="m", hierarchy_level="project")
    statement, _ = queries.best(whole)
    known = [question for question in asked if question.project]

    def text(question: Question) -> object:
        return router.retrieve(None, "general", "feature-impl", BASE_MODEL, question.text)

    def project(question: Question) -> object:
        world = question.project
        return router.retrieve(world.id, world.domain, "bug-fix", BASE_MODEL, question.text)

    def query(question: Question) -> object:
        return bare.execute(statement, (question.project.id, BASE_MODEL)).fetchall()

    calls: dict[str, Callable[[Question], object]] = {
        "text": text,
        "project": project,
        "bare": query,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    rng = random.Random(0)
    for question in rng.sample(known, min(len(known), 500)):
        for name in rng.sample(sorted(calls), len(calls)):
            wall, cpu = time.perf_counter(), time.thread_time()
            calls[name](question)
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            taken[name].append((wall * 1e3, cpu * 1e3))
    bare.close()
    figures: dict[str, float] = {}
    for name, times in taken.items():
        walls, cpus = zip(*times, strict=True)
        figures[f"{name}_p50_ms"] = statistics.median(walls)
        figures[f"{name}_p95_ms"] = statistics.quantiles(walls, n=20)[-1]
        figures[f"{name}_cpu_p50_ms"] = statistics.median(cpus)
    return figures


def curve(folder: Path, worlds: Sequence[World], strangers: Sequence[World], each: int) -> Any:
    """What each pair of thresholds would give: on these the shipped ones were chosen."""
    home = folder / f"curve-{len(worlds)}"
    fill(home, worlds)
    config = load_config(home=home)
    database = open_database(config)
    search = Router(AdapterRegistry(database, config))._search
    rows = []
    for question in questions([w for w in worlds if w.asked], strangers, each, named=True):
        whose = search.whose(question.text, BASE_MODEL)
        nearness = whose.near[0].nearness if whose.near else 0.0
        right = question.project and whose.near and whose.near[0].project_id == question.project.id
        rows.append((bool(question.project), bool(right), nearness, whose.margin))
    database.close()
    told = []
    for least in (0.1, 0.2, 0.3):
        for margin in (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5):
            taken = [(known, right) for known, right, n, m in rows if n >= least and m >= margin]
            known = sum(known for known, *_ in rows)
            told.append(
                {
                    "projects": len(worlds),
                    "min_nearness": least,
                    "min_margin": margin,
                    "right": sum(right for _, right in taken) / known,
                    "strangers_none": 1
                    - sum(not known for known, _ in taken) / (len(rows) - known),
                }
            )
    return told


def _share(outcomes: Any) -> float:
    found = list(outcomes)
    return sum(found) / len(found) if found else 0.0


def promises(found: Any) -> dict[str, tuple[float, bool]]:
    """What was promised, what came, and whether that is enough."""
    text = found["text"]
    came = {
        "named project": min(found["named project"].values()),
        "text alone": statistics.mean(text[kind]["right"] for kind in KINDS),
        "strangers": statistics.mean(text[f"strangers: {kind}"]["none"] for kind in KINDS),
    }
    told = {name: (share, share >= PROMISED[name]) for name, share in came.items()}
    p50 = found["times"]["text_p50_ms"]
    return told | {"p50_ms": (p50, p50 < PROMISED["p50_ms"])}


def show(found: Any) -> None:
    print(f"{found['adapters']:,} adapters of {found['projects']:,} projects")
    named = ", ".join(f"{kind} {share:.1%}" for kind, share in found["named project"].items())
    print(f"  project named: right project's adapter first: {named}")
    print(f"  a stranger's project named: none {found['a stranger' + chr(39) + 's name']:.1%}")
    for title in ("text", "text without the package's name"):
        print(f"  {title} alone")
        for whose, of in found[title].items():
            shares = "  ".join(f"{name} {of[name]:6.1%}" for name in ("right", "wrong", "none"))
            print(f"    {whose:<30} {shares}   n={of['n']}")
    times = found["times"]
    print(
        f"  p50 by text {times['text_p50_ms']:.2f} ms, by project and text "
        f"{times['project_p50_ms']:.2f} ms, bare query {times['bare_p50_ms']:.3f} ms "
        f"(of the processor {times['text_cpu_p50_ms']:.2f}, {times['project_cpu_p50_ms']:.2f}, "
        f"{times['bare_cpu_p50_ms']:.3f}); first question {found['first_question_cpu_s']:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The right adapter, or none.")
    parser.add_argument("--adapters", type=int, default=10_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=(10, 100, 1_000), help="Also.")
    parser.add_argument("--asked", type=int, default=300, help="Projects that are asked about.")
    parser.add_argument("--each", type=int, default=2, help="Questions of a kind about each.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--curve", action="store_true", help="Instead: what thresholds give.")
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    given = parser.parse_args()
    strangers = make_strangers(given.seed, given.asked)
    worlds = make_worlds(given.seed, given.adapters, given.asked)
    sizes = [*(size for size in given.sizes if size < given.adapters), given.adapters]
    results = []
    with tempfile.TemporaryDirectory(prefix="rune-bench-") as folder:
        for size in sizes:
            some = worlds[: max(1, size * 4 // 6)]
            run = curve if given.curve else measure
            results.append(run(Path(folder), some, strangers, given.each))
            if given.curve:
                for row in results[-1]:
                    print("  ".join(f"{name} {value:.3g}" for name, value in row.items()))
            else:
                show(results[-1])
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))
    if not given.curve:
        held = promises(results[-1])
        for name, (came, enough) in held.items():
            print(f"{'holds' if enough else 'FAILS'}: {name} {came:.3f} ({PROMISED[name]:g})")
        raise SystemExit(0 if all(enough for _, enough in held.values()) else 1)


if __name__ == "__main__":
    main()
