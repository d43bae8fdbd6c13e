"""Tells which files below some folders change, by the operating system's own notifications.

The names of changed files wait in a set until somebody takes them: a file that changes a thousand
times in a moment is one name, and one wake-up. Knows nothing of what the files are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_MOST_NAMES = 10_000


class Watch:
    """Folders that are watched; nothing runs before the first one.

    Args:
        changed: called, on any thread, when there is something to take.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._observer: Any = None
        self._watched: dict[Path, Any] = {}
        self._lock = threading.Lock()
        self._names: set[str] = set()

    @property
    def folders(self) -> frozenset[Path]:
        return frozenset(self._watched)

    def set_folders(self, wanted: Iterable[Path]) -> None:
        """Watch exactly these folders, and what is below them, as far as they exist."""
        wanted = {folder for folder in wanted if folder.is_dir()}
        for folder in self._watched.keys() - wanted:
            with suppress(KeyError, OSError):
                self._observer.unschedule(self._watched.pop(folder))
        for folder in wanted - self._watched.keys():
            with suppress(OSError):  # too many watches: the regular look finds what changes
                handler = self._handler()
                scheduled = self._started().schedule(handler, str(folder), recursive=True)
                self._watched[folder] = scheduled

    def take(self) -> set[str]:
        """The paths that changed since the last call."""
        with self._lock:
            names, self._names = self._names, set()
        return names

    def stop(self) -> None:
        """End the threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer, self._watched = None, {}

    def _started(self) -> Any:
        if self._observer is None:
            from watchdog.observers import Observer

            self._observer = Observer()
            self._observer.start()
        return self._observer

    def _handler(self) -> Any:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler

        note = self._note

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type in ("created", "modified", "moved") and not event.is_directory:
                    moved = event.dest_path if event.event_type == "moved" else ""
                    note(str(moved or event.src_path))

        return Handler()

    def _note(self, name: str) -> None:
        with self._lock:
            first = not self._names
            if len(self._names) < _MOST_NAMES:
                self._names.add(name)
        if first:
            self._changed()
