"""`rune doctor`: whether this machine can run Rune, and whether everything that is stored is whole.

`machine` looks at the machine and `phase0` tries what training and serving need; `data` examines a
home and mends what it is told to. What is wrong is data (`findings`), never an exception; nothing
is changed unless asked.
"""

from __future__ import annotations

from rune_engine.config import RuneConfig
from rune_engine.doctor.data import examine, repair
from rune_engine.doctor.findings import DataReport, Finding, MachineReport
from rune_engine.doctor.machine import look_at
from rune_engine.doctor.phase0 import Trying, phase0

__all__ = ["DataReport", "Finding", "MachineReport", "examine", "examine_machine", "repair"]


async def examine_machine(
    config: RuneConfig, *, quick: bool = False, trying: Trying = lambda _: None
) -> MachineReport:
    """Look at the machine and, unless `quick`, try Phase 0 on it.

    Args:
        trying: told of each line of Phase 0 that begins.
    """
    checks = await look_at(config)
    if not quick:
        checks += await phase0(config, trying)
    return MachineReport(checks=checks)
