"""The assessment is made of the figures and says no where they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from experiments_support import planted_figures

from rune_engine.config import RuneConfig
from rune_engine.experiments.plots import plot
from rune_engine.experiments.report import assessment, doubtful
from rune_engine.experiments.tracking import track

GOOD = {
    "base": 0.0,
    "in_context": 0.9,
    "direct": 1.0,
    "closed_form": 0.9,
    "hypernetwork": 1.0,
    "random": 0.0,
    "wrong_project": 0.0,
}


def table_row(text: str, words: str) -> str:
    [row] = [line for line in text.splitlines() if line.startswith("|") and words in line]
    return row


def test_a_gate_that_passed_says_so_and_by_what() -> None:
    text = assessment(planted_figures(GOOD))
    assert text.startswith("# Gate PASSED\n")
    assert "+100.0 points over base" in text
    ahead = table_row(text, "hypernetwork: better than the closed form")
    assert "| yes |" in ahead and "+10.0 points, interval 10.0 to 10.0" in ahead
    assert "rune experiment gate --base rune-nano" in text


def test_a_gate_that_failed_says_so_and_what_did_not_hold() -> None:
    figures = planted_figures(GOOD | {"hypernetwork": 0.0, "in_context": 0.3, "random": 0.2})
    text = assessment(figures)
    assert text.startswith("# Gate FAILED - reassessing\n")
    for words in ("trajectories in context", "hypernetwork: at least 0.9", "a random adapter"):
        assert "| **no** |" in table_row(text, words)
    missed = text.partition("What did not hold:")[2]
    assert "trajectories in context: at least 85 %: 30.0 %" in missed


def test_what_is_not_there_is_never_given_a_number() -> None:
    figures = planted_figures(GOOD | {"hypernetwork": None})
    text = assessment(figures)
    assert "`hypernetwork` is not available: There is none." in text
    assert "no hypernetwork to decide by" in text
    assert figures["conditions"]["hypernetwork"]["pass_at_1"] is None
    assert "| `hypernetwork` | – | – | – |" in text
    assert "not measured" in table_row(text, "hypernetwork: mean cosine")


def test_large_gains_are_doubted_and_a_leak_is_shouted() -> None:
    figures = planted_figures(GOOD)
    assert doubtful(figures) == ["in_context", "direct", "closed_form", "hypernetwork"]
    assert "have to be doubted" in assessment(figures)
    assert "Nothing leaked" in assessment(figures)
    figures["leaks"][0] |= {"clean": False, "count": 2, "found": ["p0/1"]}
    text = assessment(figures)
    assert "**2**: p0/1" in text and "not to be believed" in text
    small = planted_figures(dict.fromkeys(GOOD, 0.1))
    assert doubtful(small) == [] and "No condition gains" in assessment(small)


def test_the_markdown_tables_are_whole() -> None:
    """Every row of a table has as many cells as its head."""
    figures = planted_figures(GOOD)
    figures["growth"] = {
        "closed_form": {"1": figures["plain"]["base"], "6": figures["plain"]["base"]}
    }
    cells: list[int] = []
    for line in [*assessment(figures).splitlines(), ""]:
        if line.startswith("|"):
            cells.append(line.count("|"))
        elif cells:
            assert len(cells) > 2 and len(set(cells)) == 1, line
            cells = []


def test_plots_are_svg_beside_the_assessment_and_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = planted_figures(GOOD)
    figures["growth"] = {
        "closed_form": {"1": figures["conditions"]["base"], "6": figures["conditions"]["direct"]}
    }
    drawn = plot(figures, tmp_path / "docs", "gate")
    assert {path.name for path in drawn.values()} == {"gate-conditions.svg", "gate-growth.svg"}
    first = {path: path.read_bytes() for path in drawn.values()}
    assert all(b"<svg" in content for content in first.values())
    assert b"hypernetwork" in first[drawn["conditions"]]
    assert b"trajectories" in first[drawn["growth"]]
    assert plot(figures, tmp_path / "docs", "gate") == drawn
    assert {path: path.read_bytes() for path in drawn.values()} == first
    text = assessment(figures, drawn)
    assert "](gate-conditions.svg)" in text and "](gate-growth.svg)" in text


def test_the_tracked_run_has_the_plans_fields_and_the_decision_as_its_note(
    config: RuneConfig, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow")
    figures = planted_figures(GOOD | {"hypernetwork": None, "closed_form": 0.0})
    figures["diagnostics"] = {
        "closed_form": {
            "training_loss": 0.5,
            "adapter_cosine_diversity": 0.4,
            "delta_w_norm": 2.0,
        }
    }
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(figures), encoding="utf-8")
    run_id = track(figures, [file], config)
    run: Any = mlflow.get_run(run_id)
    assert run.data.tags["mlflow.note.content"] == "Gate FAILED - reassessing"
    assert run.data.params["phase"] == "1"
    assert run.data.params["adapter_id"] == "closed_form-p0"
    metrics = run.data.metrics
    assert metrics["pass_at_1"] == 0.0 and metrics["direct.pass_at_1"] == 1.0
    assert metrics["adapter_cosine_diversity"] == 0.4 and metrics["delta_w_norm"] == 2.0
    assert metrics["training_loss"] == 0.5
    assert "hypernetwork.pass_at_1" not in metrics
    assert Path(run.info.artifact_uri.removeprefix("file://"), "gate.json").is_file()
    assert str(config.home) in run.info.artifact_uri
