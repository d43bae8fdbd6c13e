"""Examines what processes leave behind: jobs that nobody runs, logs, doors that stand open."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from rune_engine.doctor.findings import Finding, Problem, Tools
from rune_engine.doctor.ground import Ground
from rune_engine.jobs import owner as owners
from rune_engine.jobs.store import JobStore
from rune_engine.statistic_files import unneeded

_LOGS = ("-wal", "-shm")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def jobs(ground: Ground) -> Iterator[Problem]:
    """Jobs that are said to run and whose owner is dead."""
    running = "SELECT id, owner FROM jobs WHERE status = 'running' ORDER BY created_at, id"
    for job_id, owner in ground.connection.execute(running).fetchall():
        if not owners.is_alive(owner or ""):
            finding = Finding(
                kind="job_stranded",
                subject=job_id,
                what=f"Job {job_id} is running, but the process that ran it is gone.",
                means="The next engine takes it up; until then it stands still.",
                repair="It is queued again, or ended if it was started too often.",
            )
            yield Problem(finding, _take_up)


def statistics(ground: Ground) -> Iterator[Problem]:
    """What was read of trajectories that are not stored any more; ask after the rows."""

    def held() -> set[str]:
        return {
            row[0] for row in ground.connection.execute("SELECT content_hash FROM trajectories")
        }

    for path in unneeded(ground.config.statistics_path, held):
        finding = Finding(
            kind="stray",
            subject=str(path.relative_to(ground.config.home)),
            what=f"{path.name} was made of a trajectory that is not stored.",
            means="A restore replaced the database, or a distillation was interrupted. It says "
            "what the trajectory's code was.",
            repair="It is removed.",
        )
        yield Problem(finding, partial(_remove, path))


def permissions(ground: Ground) -> Iterator[Problem]:
    """Files that other users of the machine can get at, or that are theirs."""
    home = ground.config.home
    # Logs have the mode that their database had when they were made, and go when it is closed.
    databases = [path for path in home.glob("rune.db*") if not path.name.endswith(_LOGS)]
    private = [home, *sorted(databases), ground.config.tracking_path]
    for path in private:
        if not path.exists():
            continue
        status = path.lstat()
        if status.st_uid != os.getuid():
            yield _open(home, path, f"belongs to user {status.st_uid}, not to you", mends=False)
        elif status.st_mode & _OTHERS:
            mode = stat.filemode(status.st_mode)
            yield _open(home, path, f"is open to other users ({mode})", mends=True)


def _open(home: Path, path: Path, how: str, *, mends: bool) -> Problem:
    finding = Finding(
        kind="permissions_open",
        subject=str(path.relative_to(home)),
        what=f"{path} {how}.",
        means="Others can read what was recorded, or change it.",
        repair="It becomes yours alone." if mends else None,
    )
    return Problem(finding, partial(_close, path) if mends else None)


def log_left(database: Path) -> list[Problem]:
    """Whether the last process to use the database ended without closing it. Ask before opening
    it, as whoever closes it last folds the log in."""
    log = database.with_name(f"{database.name}-wal")
    if not log.exists() or not log.stat().st_size or _is_open(database):
        return []
    finding = Finding(
        kind="log_left",
        subject=log.name,
        what=f"The database was not closed: {log.stat().st_size} bytes are in its log.",
        means="Nothing is lost: whoever opens it next reads the log, too.",
        repair="The log is folded into the database.",
    )
    return [Problem(finding, lambda tools: tools.database.fold_log())]


def _is_open(database: Path) -> bool:
    """Whether a process of this user, such as this one, has it open."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if any(Path(file.path) == database for file in process.open_files()):
                return True
    return False


# --- repairs -----------------------------------------------------------------------------------


def _take_up(tools: Tools) -> None:
    JobStore(tools.database).take_up()


def _remove(path: Path, _: Tools) -> None:
    path.unlink(missing_ok=True)


def _close(path: Path, _: Tools) -> None:
    if path.exists():  # a log may have been folded in meanwhile
        path.chmod(path.lstat().st_mode & ~_OTHERS & 0o777)
