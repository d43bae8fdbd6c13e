"""Answers one call of a compiled suite: loads the candidate, calls, reports, ends.

What is expected is not here, and neither are the other calls: they are dropped before the
candidate is loaded. The report is a secret, the case's id, "value" or "raised" and an encoded
value. A candidate can write such a report itself; it then has to know the right answer, as if it
returned it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rune_engine.sandbox.inside import loading, values

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any


def run(payload: dict[str, Any], folders: list[str], verdict_fd: int, child_index: int) -> None:
    """Answer `payload["cases"][child_index]`, an (id, function, arguments, keywords)."""
    leave, send, encode = os._exit, os.write, values.encode
    case_id, function, args, kwargs = payload["cases"][child_index]
    head = payload["secret"] + b"%s\n" % case_id.encode()
    candidate = payload["candidate"]
    payload.clear()
    explain = loading.Explainer()
    loading.forget_ourselves(folders)
    streams = (sys.stdout, sys.stderr)
    word = b"unloaded\n"
    try:
        solution = loading.load(candidate)
        word = b"raised\n"
        called = getattr(solution, function, None)
        if called is None:
            raise NameError(f"name '{function}' is not defined")
        report = b"value\n" + encode(called(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001  the driver: failures become the report
        report = word + encode(explain.told(error))
    for stream in streams:
        with suppress(OSError, ValueError):  # closed by the candidate
            stream.flush()
    body = memoryview(head + report)
    while body:
        body = body[send(verdict_fd, body) :]
    leave(0)
