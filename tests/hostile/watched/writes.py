"""An audit hook that reports what a process changes in the file system outside some folders.

Everything that Python itself opens, makes, renames, removes or links is audited; what a library
does in C (SQLite) is, by the file's name, when it is opened. Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NAMED = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.utime": (0,),
    "os.setxattr": (0,),
    "shutil.rmtree": (0,),
    "sqlite3.connect": (0,),
}


def watch(is_on: Callable[[], bool] = lambda: True) -> None:
    """Report from now on, while `is_on()`; a hook cannot be taken off again."""
    log = os.open(os.environ["RUNE_TEST_WRITES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    named = os.environ["RUNE_TEST_WRITABLE"].split(os.pathsep)
    writable = tuple(os.path.realpath(each) + ("" if each[-1] == "-" else "/") for each in named)

    def hook(event: str, args: tuple[object, ...]) -> None:
        if (event != "open" and event not in _NAMED) or not is_on():
            return
        for path in _changed(event, args):
            if not f"{path}/".startswith(writable):
                os.write(log, f"{event} {path!r} by {sys.argv[:3]!r}\n".encode())

    sys.addaudithook(hook)


def _changed(event: str, args: tuple[object, ...]) -> Iterator[str]:
    """The absolute paths that an event is about to change."""
    beside = ""
    if event == "open":
        path, mode, flags = args
        by_mode = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        if not by_mode and not (isinstance(flags, int) and flags & _WRITING):
            return
        named = [path]
    else:
        named = [args[position] for position in _NAMED[event]]
        beside = _folder_of(args)
    for one in named:
        if isinstance(one, (str, bytes)):
            text = os.fsdecode(one)
            if text not in ("", ":memory:") and "\0" not in text:
                text = text.removeprefix("file:").partition("?")[0]
                yield os.path.realpath(f"{beside}/{text}" if beside and text[0] != "/" else text)


def _folder_of(args: tuple[object, ...]) -> str:
    """The folder that a relative path is meant from, where a call names one by its descriptor."""
    last = args[-1]
    if isinstance(last, int) and not isinstance(last, bool) and last > 2 and len(args) > 1:
        try:
            return str(Path(f"/proc/self/fd/{last}").readlink())
        except OSError:
            pass
    return ""
