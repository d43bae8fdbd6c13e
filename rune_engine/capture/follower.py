"""Follows the allowed agents' session folders, the drop folder and the hooks, inside the engine.

A file that changes is read when it has been still for a moment, and what can no longer change is
captured; all of it is, once its session has ended: a hook says so, the file says so, or it has been
still for long. Nothing is read while nothing changes. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rune_engine.capture.capturing import LONGEST_CALL_SECONDS, Capturing, Look, state_of
from rune_engine.capture.hook_folder import SOURCE as HOOKS_SOURCE
from rune_engine.capture.hook_folder import HookFolder
from rune_engine.capture.importers import IMPORTERS, Importer, claude_hooks, units_below
from rune_engine.capture.sources import Sources
from rune_engine.capture.watching import Watch
from rune_engine.config import RuneConfig
from rune_engine.errors import InvalidInputError, RuneError
from rune_engine.models import CaptureReport

log = logging.getLogger(__name__)

STILL_SECONDS = 1.0
"""A file that changes is not read before it has been still for so long."""
_HOOK_SECONDS = 0.3
_RETRY_SECONDS = 60.0
_LOOK_ROUND_SECONDS = 300.0


@dataclass(slots=True)
class _Changed:
    """A unit that is to be read, and not before `due` (of `time.monotonic`)."""

    importer: Importer
    due: float
    changed: float
    ended: bool = False
    hook: Path | None = None


class Follower:
    """Follows for one engine.

    Args:
        on_activity: told when something is going on, so that the engine stays.
        on_crash: told of an error that is not a file's or the database's.
    """

    def __init__(
        self,
        config: RuneConfig,
        capturing: Capturing,
        sources: Sources,
        *,
        on_activity: Callable[[], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._settings = config.capture
        self._inbox = config.inbox_path
        self._hooks = HookFolder(config)
        self._hooks_folder = config.hooks_path.resolve()
        self._capturing = capturing
        self._sources = sources
        self._on_activity = on_activity
        self._on_crash = on_crash
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._watch = Watch(self._wake_up)
        self._roots: dict[Path, str] = {}
        self._pending: dict[Path, _Changed] = {}
        self._look_round_at = 0.0
        self._resume_at = 0.0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def following(self) -> bool:
        """Whether anything is watched."""
        return bool(self._roots)

    def start(self) -> None:
        if self._settings.enabled:
            self._task = asyncio.create_task(self._run(), name="capture")
            self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop following; what is being read is finished."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    def look_round(self) -> None:
        """Look at everything anew, soon: a source was allowed or forbidden. From any thread."""
        self._look_round_at = 0.0
        self._wake_up()

    def _wake_up(self) -> None:
        self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        try:
            while not self._stopping:
                if time.monotonic() >= self._look_round_at:
                    await asyncio.to_thread(self._look_round)
                self._wake.clear()
                self._notice(self._watch.take())
                await self._read_due()
                try:
                    await asyncio.wait_for(self._wake.wait(), self._pause())
                except TimeoutError:
                    continue
        finally:
            await asyncio.to_thread(self._watch.stop)

    def _pause(self) -> float:
        due = [max(changed.due, self._resume_at) for changed in self._pending.values()]
        if self._roots:
            due.append(self._look_round_at)
        elif not due:
            return _LOOK_ROUND_SECONDS
        return min(max(min(due) - time.monotonic(), 0.05), _LOOK_ROUND_SECONDS)

    # --- what is there --------------------------------------------------------------------------

    def _look_round(self) -> None:
        """Watch what is allowed, and find what changed while nobody watched."""
        self._look_round_at = time.monotonic() + _LOOK_ROUND_SECONDS
        try:
            self._inbox.mkdir(mode=0o700, exist_ok=True)
            self._hooks.tell(self._sources.state(HOOKS_SOURCE))
            allowed = self._sources.allowed()
            roots = {f: source for source in allowed for f in self._sources.folders(source)}
            if HOOKS_SOURCE in allowed:
                roots[self._hooks_folder] = HOOKS_SOURCE
            self._roots = roots
            self._watch.set_folders(roots)
            self._pending = {
                unit: one for unit, one in self._pending.items() if one.importer.agent in allowed
            }
            for unit, importer, age in self._unread(roots):
                self._changed(unit, importer, age)
        except RuneError as error:
            log.warning("Agents' sessions cannot be followed now: %s", error)
            self._look_round_at = time.monotonic() + _RETRY_SECONDS

    def _unread(self, roots: dict[Path, str]) -> Iterator[tuple[Path, Importer, float]]:
        """What is to be read, and the seconds since it changed."""
        for folder, source in roots.items():
            is_hooks = folder == self._hooks_folder
            importer = claude_hooks.IMPORTER if is_hooks else IMPORTERS[source]
            for unit in units_below(folder, importer):
                try:
                    if is_hooks or not self._capturing.is_read(unit):
                        yield unit, importer, time.time() - state_of(unit).mtime_ns / 1e9
                except InvalidInputError:
                    continue  # gone meanwhile

    def _notice(self, names: set[str]) -> None:
        """Remember what the operating system said has changed."""
        for name in names:
            path = Path(name)
            folder = next((root for root in self._roots if path.is_relative_to(root)), None)
            if folder is None or path.is_symlink():
                continue
            is_hooks = folder == self._hooks_folder
            importer = claude_hooks.IMPORTER if is_hooks else IMPORTERS[self._roots[folder]]
            if (unit := importer.unit_of(path)) is not None:
                self._changed(unit, importer)
                self._on_activity()

    def _changed(self, unit: Path, importer: Importer, age: float = 0.0) -> None:
        """Have a unit read that changed `age` seconds ago."""
        now = time.monotonic() - max(age, 0.0)
        still = _HOOK_SECONDS if importer is claude_hooks.IMPORTER else STILL_SECONDS
        found = self._pending.get(unit)
        if found is None:
            self._pending[unit] = _Changed(importer, now + still, now)
        elif now > found.changed:
            found.changed = now
            found.due = max(found.due, now + still) if not found.ended else found.due

    # --- reading --------------------------------------------------------------------------------

    async def _read_due(self) -> None:
        now = time.monotonic()
        for unit in [unit for unit, one in self._pending.items() if one.due <= now]:
            if now < self._resume_at or self._stopping:
                return
            one = self._pending.pop(unit)
            try:
                if one.importer is claude_hooks.IMPORTER:
                    await asyncio.to_thread(self._read_hooks, unit, one)
                else:
                    await asyncio.to_thread(self._read, unit, one)
            except InvalidInputError as error:
                log.info("A session file was passed over: %s", error.message)
            except RuneError as error:
                log.warning("A session could not be captured; it is tried again: %s", error)
                one.due = time.monotonic() + _RETRY_SECONDS
                self._pending.setdefault(unit, one)

    def _read_hooks(self, unit: Path, one: _Changed) -> None:
        """Have the transcript read that hooks name; or the hooks themselves, without one."""
        hooked = self._hooks.read(unit)
        if hooked is None:
            return
        now = time.monotonic()
        if hooked.transcript is not None:
            importer = IMPORTERS[HOOKS_SOURCE]
            due = now + STILL_SECONDS - _HOOK_SECONDS
            known = self._pending.get(hooked.transcript)
            changed = known.changed if known else now
            self._pending[hooked.transcript] = _Changed(
                importer, due, changed, ended=hooked.ended, hook=unit
            )
        else:
            self._read(unit, _Changed(one.importer, now, one.changed, hooked.ended, unit))

    def _read(self, unit: Path, one: _Changed) -> None:
        still, quiet = time.monotonic() - one.changed, self._settings.quiet_seconds
        look = Look("follower", final=one.ended, still_seconds=still)
        report = self._capturing.look(unit, one.importer, look)
        _log(report)
        if any(task.status == "deferred" for task in report.tasks):
            self._resume_at = time.monotonic() + _RETRY_SECONDS
            self._again(unit, one, _RETRY_SECONDS)
        elif any(task.status == "open" for task in report.tasks):
            self._again(unit, one, (quiet if still < quiet else LONGEST_CALL_SECONDS) - still)
        elif one.ended and one.hook is not None:
            self._hooks.remove(one.hook)

    def _again(self, unit: Path, one: _Changed, seconds: float) -> None:
        """Read it again later, unless it changes before."""
        one.due = time.monotonic() + max(seconds, STILL_SECONDS)
        self._pending.setdefault(unit, one)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_crash(error)


def _log(report: CaptureReport) -> None:
    stored = [task for task in report.tasks if task.status == "stored"]
    if stored:
        names = ", ".join(sorted({task.project_id for task in stored}))
        log.info("Captured %d trajectories of %s in %s", len(stored), report.source, names)
