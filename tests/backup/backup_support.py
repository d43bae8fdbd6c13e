"""A home with something in it, and ways to look at what a home holds."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from adapter_files import draft as adapter_draft
from adapter_files import weights

from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.models import AdapterInfo, Attempt, Trajectory, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

Members = list[tuple[tarfile.TarInfo, bytes]]


@dataclass(frozen=True)
class Holdings:
    """All that a home holds, with paths relative to it."""

    adapters: dict[str, AdapterInfo]
    trajectories: dict[str, Trajectory]


def trajectory(task: str, project: str = "alpha") -> TrajectoryDraft:
    attempt = Attempt(generated_code=f"def f():\n    return {task!r}\n", tests_passed=True)
    return TrajectoryDraft(
        project_id=project, task_description=task, attempts=[attempt], outcome="success"
    )


def fill(config: RuneConfig, *names: str) -> Holdings:
    """Store an adapter and a trajectory of each name."""
    with closing(open_database(config)) as database:
        registry, store = AdapterRegistry(database, config), TrajectoryStore(database)
        for name in names:
            registry.store(adapter_draft(id=name), weights(sum(name.encode())))
            store.record(trajectory(f"task {name}"))
    return holdings(config)


def holdings(config: RuneConfig) -> Holdings:
    """What the home holds; every adapter in use is verified."""
    with closing(open_database(config)) as database:
        registry = AdapterRegistry(database, config)
        adapters = registry.list_all()
        for adapter in adapters:
            if not adapter.is_archived:
                registry.verified_ref(adapter.id)
        trajectories = TrajectoryStore(database).page(limit=100).trajectories
    relative = {
        adapter.id: adapter.model_copy(
            update={"file_path": str(Path(adapter.file_path).relative_to(config.home))}
        )
        for adapter in adapters
    }
    return Holdings(relative, {each.id: each for each in trajectories})


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file that is read-only, and only under this name."""
    data = change(path.read_bytes())
    path.unlink()
    path.write_bytes(data)


def members(backup: Path) -> Members:
    """What a backup's tar holds."""
    with tarfile.open(backup) as tar:
        found = []
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            found.append((info, file.read()))
    return found


def pack(path: Path, content: Members) -> Path:
    """A tar of these members, in this order."""
    with tarfile.open(path, "w") as tar:
        for info, data in content:
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
