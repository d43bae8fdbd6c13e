"""`rune doctor`: whether this machine can run Rune, and whether everything that is stored is whole.

`machine` looks at the machine; `data` examines a home and mends what it is told to. What is wrong
is data (`findings`), never an exception; nothing is changed unless asked.
"""

from __future__ import annotations

from rune_engine.doctor.data import examine, repair
from rune_engine.doctor.findings import DataReport, Finding, MachineReport
from rune_engine.doctor.machine import examine_machine

__all__ = ["DataReport", "Finding", "MachineReport", "examine", "examine_machine", "repair"]
