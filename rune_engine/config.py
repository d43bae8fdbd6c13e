"""Rune's configuration, read in one place.

Order of precedence: environment (`RUNE_...`, nested with `__`), `$RUNE_HOME/config.toml`,
defaults. Nothing else in the project reads the environment.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

_LONGEST_SOCKET_PATH = 100
"""Unix socket paths are limited to about 107 bytes; longer homes get a socket elsewhere."""

_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS = rf"^{_TIME}-{_TIME}$"


class SandboxLimits(BaseModel):
    """What model-written code may use, per run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wall_seconds: float = Field(default=10.0, gt=0)
    cpu_seconds: int = Field(default=8, gt=0)
    memory_bytes: int = Field(default=512 * 1024**2, gt=0)
    processes: int = Field(default=64, gt=0)
    file_bytes: int = Field(default=16 * 1024**2, gt=0)
    work_folder_bytes: int = Field(default=32 * 1024**2, gt=0)
    output_bytes: int = Field(default=64 * 1024, gt=0)
    open_files: int = Field(default=64, gt=0)


def default_home() -> Path:
    """Rune's home where none is named."""
    return Path.home() / ".rune"


class ConsolidationSettings(BaseModel):
    """When the engine distills by itself, and how much has to be new before it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    quiet_seconds: float = Field(
        default=300.0, ge=0, description="Since somebody last recorded or asked for something."
    )
    max_load: float | None = Field(
        default=0.5, gt=0, description="Load per core over the last minute; null ignores it."
    )
    on_battery: bool = Field(default=False, description="Whether it also works on battery power.")
    hours: Annotated[str, StringConstraints(pattern=_HOURS)] | None = Field(
        default=None, description='Local time, such as "22:00-06:00"; null is any time.'
    )
    min_free_memory_bytes: int = Field(default=2 * 1024**3, ge=0)
    min_trajectories: int = Field(
        default=8, ge=1, description="Distillable trajectories a project or group must have."
    )
    min_new: int = Field(
        default=4, ge=1, description="How many of them the last adapter has not learnt from."
    )
    kept_back_share: float = Field(
        default=0.2, ge=0, lt=1, description="Of the tasks, kept back to measure the adapter on."
    )
    fast: bool = Field(
        default=True,
        description="Whether adapters are also updated without training, while somebody works.",
    )
    fast_quiet_seconds: float = Field(
        default=20.0, ge=0, description="As quiet_seconds, before such an update."
    )
    fast_min_new: int = Field(default=1, ge=1, description="As min_new, before such an update.")


class EvolutionSettings(BaseModel):
    """Which adapters the engine takes out of use, and which it tries to make one of, by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    guard: bool = Field(
        default=True,
        description="Whether an adapter goes out of use once live tasks say that it does harm.",
    )
    guard_alpha: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="The chance that one which does none ever goes by that, at most.",
    )
    promote: bool = Field(
        default=True, description="Whether proven adapters are tried on the next level's tasks."
    )
    consolidate: bool = Field(
        default=True, description="Whether adapters that are alike are tried as one."
    )
    least_similarity: float = Field(
        default=0.2, ge=-1, le=1, description="Of two adapters' weight deltas (cosine), for that."
    )
    least_agreement: float = Field(
        default=0.5, ge=0, le=1, description="Of their outcomes on shared held-out tasks, for that."
    )
    max_adapters: int = Field(
        default=32, ge=1, description="Of a project in use, before long unused ones go."
    )
    unused_days: float = Field(
        default=60.0, ge=0, description="How long is long, for that: days without being used."
    )


class EvaluationDefaults(BaseModel):
    """How adapters are judged, and what their fitness follows from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float = Field(
        default=0.7, ge=0, le=1, description="Weight of the pass rate; the rest: generalization."
    )
    fewest_tasks: int = Field(
        default=5, ge=1, description="Decided held-out tasks below which there is no fitness."
    )
    out_of_domain_tasks: int = Field(
        default=20, ge=0, description="Tasks of other domains that an adapter must not harm."
    )
    at_once: int = Field(default=8, ge=1, description="Tasks asked and run at the same time.")


class RoutingSettings(BaseModel):
    """When an adapter is loaded for a task rather than none; docs/routing.md has the figures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_fitness: float = Field(
        default=0.35,
        description="What an evaluated adapter must have; one that solves nothing and harms "
        "nothing has 0.3.",
    )
    nearness_weight: float = Field(
        default=0.25, ge=0, description="Of nearness beside fitness, among adapters of a level."
    )
    by_text: bool = Field(
        default=True, description="Whether a task of no named project is known by its text alone."
    )
    min_nearness: float = Field(
        default=0.2, ge=0, le=1, description="Of a text to a project, for that."
    )
    min_margin: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Nearer than to any other project by this, for that; more in a small home.",
    )


class CaptureSettings(BaseModel):
    """How agents' own session files are followed; which ones, `rune capture allow` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="Whether the engine follows what is allowed.")
    folders: dict[str, list[Path]] = Field(
        default={}, description="By agent: where it keeps its sessions, if not where it does so."
    )
    quiet_seconds: float = Field(
        default=120.0,
        ge=0,
        description="A session that never says its end has ended after this long without a change.",
    )
    max_file_bytes: int = Field(default=64 * 1024**2, gt=0)
    max_per_minute: int = Field(
        default=120, ge=1, description="Trajectories that following stores in a minute, at most."
    )
    max_recorded_per_minute: int = Field(
        default=600, ge=1, description="Trajectories that agents may record in a minute, at most."
    )


class ServingSettings(BaseModel):
    """Which back-end runs the base model, and what it may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["auto", "transformers", "llama", "vllm", "ollama"] = Field(
        default="auto", description="auto: a folder by Transformers, a .gguf file by llama.cpp."
    )
    precision: Literal["auto", "float32", "bfloat16", "nf4"] = Field(
        default="auto", description="Of the base model's weights, where the back-end can choose."
    )
    context: int | None = Field(
        default=None, ge=64, description="Tokens of context; the model's own by default."
    )
    adapter_memory_bytes: int = Field(
        default=1024**3, ge=0, description="What adapters that are kept loaded may take."
    )
    prefix_memory_bytes: int = Field(
        default=512 * 1024**2,
        ge=0,
        description="What recent conversations, kept to go on from, may take.",
    )
    vllm_url: str = "http://127.0.0.1:8000"
    vllm_adapters: int = Field(
        default=15, ge=1, description="Adapters on a vLLM server at once, at most."
    )
    ollama_url: str = "http://127.0.0.1:11434"


class RuneConfig(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="RUNE_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    home: Path = Field(default_factory=default_home)
    base_model: str = Field(
        default="rune-nano",
        description="A name that `rune model list` shows, a folder, a .gguf file, or "
        "`scripted:FILE`.",
    )
    idle_seconds: float = Field(
        default=900.0, gt=0, description="The engine ends itself after this long without work."
    )
    worker_idle_seconds: float = Field(
        default=300.0, gt=0, description="The model worker ends after this long without work."
    )
    model_threads: int = Field(default=0, ge=0, description="Torch threads; 0 is every core.")
    checkpoint_seconds: float = Field(
        default=30.0, ge=0, description="What a killed training loses at most, in seconds of it."
    )
    training_memory_bytes: int | None = Field(
        default=None, gt=0, description="What a trainer may hold at most; null is what is free."
    )
    serving: ServingSettings = ServingSettings()
    openai_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Loopback port of the OpenAI-compatible endpoint; null is off, 0 any free one.",
    )
    openai_project: str | None = Field(
        default=None,
        description="The project of requests to the model `rune` that name none.",
    )
    sandbox: SandboxLimits = SandboxLimits()
    consolidation: ConsolidationSettings = ConsolidationSettings()
    evolution: EvolutionSettings = EvolutionSettings()
    evaluation: EvaluationDefaults = EvaluationDefaults()
    routing: RoutingSettings = RoutingSettings()
    capture: CaptureSettings = CaptureSettings()
    exclusive: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether serving sleeps while a trainer runs; auto: where both would share "
        "an accelerator.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = Path(os.environ.get("RUNE_HOME") or default_home())
        toml = TomlConfigSettingsSource(settings_cls, toml_file=home / "config.toml")
        return (init_settings, env_settings, toml)

    @property
    def database_path(self) -> Path:
        return self.home / "rune.db"

    @property
    def adapters_path(self) -> Path:
        """One write-once folder per adapter, loadable by any PEFT tool."""
        return self.home / "adapters"

    @property
    def objects_path(self) -> Path:
        """Weights by content address; adapters' files are hard links to these."""
        return self.home / "objects"

    @property
    def models_path(self) -> Path:
        """Base models that were pulled, one folder each."""
        return self.home / "models"

    @property
    def inbox_path(self) -> Path:
        """Sessions that other programs drop for Rune; it only ever reads there."""
        return self.home / "inbox"

    @property
    def hooks_path(self) -> Path:
        """What agents' hooks have left, until the engine has taken it up."""
        return self.home / "hooks"

    @property
    def jobs_path(self) -> Path:
        """Scratch folders of running jobs."""
        return self.home / "jobs"

    @property
    def logs_path(self) -> Path:
        return self.home / "logs"

    @property
    def gguf_path(self) -> Path:
        """GGUF files made of adapters and base models; may be deleted at any time."""
        return self.home / "gguf"

    @property
    def statistics_path(self) -> Path:
        """What closed-form distillations have read; may be deleted at any time."""
        return self.home / "statistics"

    @property
    def openai_key_path(self) -> Path:
        """What clients of the OpenAI-compatible endpoint have to show."""
        return self.home / "openai.key"

    @property
    def mcp_token_path(self) -> Path:
        """What clients of the MCP server have to show over HTTP."""
        return self.home / "mcp.token"

    @property
    def tracking_path(self) -> Path:
        """MLflow's SQLite file."""
        return self.home / "mlflow.db"

    @property
    def lock_path(self) -> Path:
        """Held by the one engine of this home."""
        return self.home / "engine.lock"

    @property
    def socket_path(self) -> Path:
        """Where the engine listens; outside the home only when the home's path is too long."""
        inside = self.home / "engine.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
            return inside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path(platformdirs.user_runtime_dir("rune")) / f"{digest}.sock"


def load_config(**overrides: Any) -> RuneConfig:
    """Read the configuration; `overrides` win over everything.

    Raises:
        InvalidInputError: a setting has a wrong type or value.
    """
    from pydantic import ValidationError

    from rune_engine.errors import InvalidInputError

    try:
        config = RuneConfig(**overrides)
    except ValidationError as error:
        raise InvalidInputError(
            f"The configuration cannot be used: {error}",
            next_step="Correct the RUNE_... variable or $RUNE_HOME/config.toml it names.",
        ) from error
    return config.model_copy(update={"home": config.home.expanduser().absolute()})
