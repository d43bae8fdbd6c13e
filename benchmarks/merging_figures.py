"""What came of `merging_quality`, as figures and as the written assessment.

Every comparison is paired by task, with an interval over projects. A task needs both halves where
neither half's sessions show all of its operations. Knows answers; nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import FileSystemLoader

from benchmarks.merging_ways import HALVES, WAYS, Made
from rune_engine.experiments.figures import Bootstrap, Figures
from rune_engine.experiments.recording import Taught
from rune_engine.experiments.sampling import Answered
from rune_engine.experiments.written import environment

BOOTSTRAP = Bootstrap(10_000, 0)
Answers = Mapping[str, Sequence[Answered]]
Kinds = Mapping[str, tuple[Answers, Mapping[str, Mapping[str, Made]]]]


def figures_of(taught: Sequence[Taught], base: Sequence[Answered], kinds: Kinds) -> Figures:
    """All that the assessment tells, JSON-ready."""
    both = needs_both(taught)
    told = {kind: _kind(answers, made, both) for kind, (answers, made) in kinds.items()}
    return {
        "tasks": sum(len(each.subject.tasks) for each in taught),
        "tasks_of_both": len(both),
        "base": _mean(base),
        "kinds": told,
        "best": {kind: best_way(each) for kind, each in told.items()},
        "joint": _joint(kinds),
    }


def needs_both(taught: Sequence[Taught]) -> set[str]:
    """The tasks of which no half of the sessions shows every operation."""
    found = set()
    for each in taught:
        shown = [
            {name for lesson in each.subject.lessons[start::2] for name in lesson.operations}
            for start in range(len(HALVES))
        ]
        found |= {
            task.key
            for task in each.subject.tasks
            if not any(set(task.operations) <= half for half in shown)
        }
    return found


def _kind(answers: Answers, made: Mapping[str, Mapping[str, Made]], both: set[str]) -> Figures:
    a, b = (answers[half] for half in HALVES)
    better = _better(a, b)
    rows = {}
    for name, answered in answers.items():
        results = [each.result for each in made[name].values()]
        rows[name] = {
            "pass": _mean(answered),
            "needs_both": _mean([each for each in answered if each.task in both]),
            "needs_one": _mean([each for each in answered if each.task not in both]),
            "over_better": _gain(answered, better),
            "over_a": _gain(answered, a),
            "over_b": _gain(answered, b),
            "over_together": _gain(answered, answers["together"]),
            "rank": fmean(result["rank"] for result in results),
            "seconds": fmean(result["seconds"] for result in results),
        }
    cosines = [each.result["parents"]["cosines"][0][1] for each in made["average"].values()]
    newly = [each.result["distilled"].get("newly_read") for each in made["together"].values()]
    return {
        "projects": len(made["A"]),
        "rows": rows,
        "cosine": fmean(cosines),
        "newly_read": None if None in newly else sum(newly),
    }


def _better(a: Sequence[Answered], b: Sequence[Answered]) -> list[Answered]:
    """Of each project, the answers of the half that passes more: chosen with the results known."""
    passed: dict[str, list[float]] = {}
    for place, answers in enumerate((a, b)):
        for each in answers:
            passed.setdefault(each.subject, [0.0, 0.0])[place] += each.pass_at_1 or 0.0
    return [
        one if passed[one.subject][0] >= passed[one.subject][1] else two
        for one, two in zip(a, b, strict=True)
    ]


def _joint(kinds: Kinds) -> Figures:
    """The joint methods beside each other, over the projects that all of them have."""
    answers = {kind: answered["together"] for kind, (answered, _) in kinds.items()}
    shared = set.intersection(*({a.subject for a in each} for each in answers.values()))
    found = {k: [a for a in each if a.subject in shared] for k, each in answers.items()}
    return {kind: _mean(each) for kind, each in found.items()}


def best_way(kind: Figures) -> str:
    """The merge of weights that passes most; of equals the first."""
    names = [way.name for way in WAYS]
    return max(names, key=lambda name: kind["rows"][name]["pass"]["value"])


def verdict(row: Figures, against: str) -> str:
    """What an interval allows to say of a merge, beside one of the columns."""
    gain = row[against]
    if gain["interval"][0] > 0:
        return "better than"
    return "worse than" if gain["interval"][1] < 0 else "not told apart from"


def _mean(answered: Sequence[Answered]) -> Figures | None:
    found = BOOTSTRAP.mean(answered)
    if found is None:
        return None
    return {"value": found.value, "interval": found.interval, "tasks": found.tasks}


def _gain(answered: Sequence[Answered], over: Sequence[Answered]) -> Figures:
    found = BOOTSTRAP.gain(answered, over)
    assert found is not None, "something was decided"
    return {"value": found.value, "interval": found.interval, "tasks": found.tasks}


def assessment(figures: Mapping[str, Any]) -> str:
    """The document, generated from the figures alone."""
    written = environment(FileSystemLoader(Path(__file__).parent / "templates"))
    written.filters["verdict"] = verdict
    return written.get_template("merging.md.jinja").render(**figures)
