"""The trainers' protocol for stand-ins, by the standard library: what they say, when they end."""

from __future__ import annotations

import json
import os
from typing import Any


def emit(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)
