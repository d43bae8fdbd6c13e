"""S15: a gate's MLflow run, with the fields of 001 and the decision as the run's note.

The store is one SQLite file and a folder in RUNE_HOME; nothing is sent anywhere. Knows figures.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.experiments.figures import Figures

EXPERIMENT = "gate"
_NOTE = "mlflow.note.content"


def track(figures: Figures, files: Sequence[Path], config: RuneConfig) -> str | None:
    """Record a run with its files; its id, or None where MLflow is not installed."""
    if find_spec("mlflow") is None:
        return None
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{config.tracking_path}")
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, (config.home / "mlflow-files").as_uri())
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=f"gate-{figures['base_model']['id']}") as run:
        mlflow.set_tag(_NOTE, figures["decision"])
        mlflow.log_params(_params(figures))
        mlflow.log_metrics(metrics(figures))
        for file in files:
            mlflow.log_artifact(str(file))
        return str(run.info.run_id)


def _params(figures: Figures) -> dict[str, str]:
    deciding = figures["decided_by"]["condition"]
    adapters = [name for name in figures["adapters"] if name.startswith(f"{deciding}-")]
    return {
        "phase": "1",
        "adapter_id": ", ".join(adapters)[:500],
        "base_model_id": figures["base_model"]["id"],
        "base_model_sha256": figures["base_model"]["sha256"],
        **{name: str(value) for name, value in figures["settings"].items()},
        **{f"version.{name}": value for name, value in figures["versions"].items()},
    }


def metrics(figures: Figures) -> dict[str, float]:
    """The fields of 001 for the condition that decides, and all conditions' own."""
    deciding = str(figures["decided_by"]["condition"])
    found: dict[str, float | None] = {
        "pass_at_1": figures["conditions"].get(deciding, {}).get("pass_at_1")
    }
    signals = figures["diagnostics"].get(deciding, {})
    for name in ("training_loss", "adapter_cosine_diversity", "delta_w_norm"):
        found[name] = signals.get(name)
    for name, condition in figures["conditions"].items():
        low, high = condition["interval"] or (None, None)
        found |= {f"{name}.pass_at_1": condition["pass_at_1"], f"{name}.low": low}
        found |= {f"{name}.high": high, f"{name}.prompt_tokens": condition["prompt_tokens"]}
        found[f"{name}.seconds_per_adapter"] = condition["seconds_per_adapter"]
    for name, each in figures["diagnostics"].items():
        found[f"{name}.adapter_cosine_diversity"] = each["adapter_cosine_diversity"]
        found[f"{name}.delta_w_norm"] = each["delta_w_norm"]
        found[f"{name}.training_loss"] = each["training_loss"]
    return {name: float(value) for name, value in found.items() if value is not None}
