"""S19, the hardware probe: what this machine has to compute on, told without loading any library.

It reads the kernel's own files and asks `nvidia-smi`, so it works before torch is installed and
never takes memory on an accelerator. Inside a container it tells what the container may use.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import psutil

from rune_engine.cgroups import cgroup_cores, cgroup_memory
from rune_engine.models.base import Model

_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""NVIDIA, AMD, and either of them inside WSL: what PyTorch calls `cuda`."""
_NVIDIA_SMI = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
_NVIDIA_FIELDS = "name,memory.total,memory.free,compute_cap"
_ANSWER_SECONDS = 20
_AMD = "0x1002"
_CPU_FEATURES = {
    "avx2": "avx2",
    "f16c": "f16c",
    "avx512f": "avx512",
    "avx512_bf16": "avx512_bf16",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "bf16": "bf16",
    "i8mm": "i8mm",
}
"""The kernel's names of instructions that matter for matrix products, and ours."""
_FAST_BFLOAT16 = {"avx512", "avx512_bf16", "amx_bf16", "bf16"}
"""With any of them PyTorch has fast bfloat16 products; imitated they take a hundred times as long
as float32's."""


class Accelerator(Model):
    """A device for matrix products. Bytes are of its memory; `free_bytes` is null if unknown."""

    kind: Literal["nvidia", "amd", "apple"]
    name: str
    memory_bytes: int
    free_bytes: int | None = None
    shares_memory: bool = False
    bf16: bool = True


class Hardware(Model):
    """What a process of this user may use here, in cores and bytes."""

    system: str
    cpu: str
    cores: int
    cpu_features: list[str]
    memory_bytes: int
    memory_available_bytes: int
    memory_limited: bool
    disk_free_bytes: int
    accelerators: list[Accelerator]

    @property
    def fast_bfloat16(self) -> bool:
        """Whether bfloat16 products are no slower than float32's on the processor."""
        return _fast_bfloat16(self.system, self.cpu_features)


@cache
def has_fast_bfloat16() -> bool:
    """Whether bfloat16 products are no slower than float32's on this processor, with PyTorch."""
    return _fast_bfloat16(platform.system(), _processor()[1])


def _fast_bfloat16(system: str, features: list[str]) -> bool:
    return system.startswith("Linux") and not _FAST_BFLOAT16.isdisjoint(features)


def has_accelerator() -> bool:
    """Whether the model worker and the trainers would find an accelerator, and so share it."""
    return any(Path(device).exists() for device in _DEVICES)


def probe(folder: Path) -> Hardware:
    """The machine as it is now; disk space is that of the file system of `folder`."""
    name, features = _processor()
    memory = psutil.virtual_memory()
    limit = cgroup_memory()
    total, available = memory.total, memory.available
    if limit is not None:
        total, available = min(total, limit.total), min(available, limit.available)
    return Hardware(
        system=f"{platform.system()} {platform.machine()}",
        cpu=name,
        cores=_cores(),
        cpu_features=features,
        memory_bytes=total,
        memory_available_bytes=available,
        memory_limited=total < memory.total,
        disk_free_bytes=shutil.disk_usage(_existing(folder)).free,
        accelerators=[*_nvidia(), *amd_accelerators(), *_apple(total, available)],
    )


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    share = cgroup_cores()
    return allowed if share is None else max(1, min(allowed, int(share)))


def _processor() -> tuple[str, list[str]]:
    if sys.platform == "linux":
        return parse_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    name = _answer("sysctl", "-n", "machdep.cpu.brand_string").strip() or platform.processor()
    features = ["neon"] if platform.machine() == "arm64" else []
    if _answer("sysctl", "-n", "hw.optional.arm.FEAT_BF16").strip() == "1":
        features.append("bf16")
    return name, features


def parse_cpuinfo(text: str) -> tuple[str, list[str]]:
    """The first processor's name and features, from the text of `/proc/cpuinfo`."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = (fields.get("flags") or fields.get("features") or "").split()
    name = fields.get("model name") or fields.get("cpu part") or platform.machine()
    return name, [ours for theirs, ours in _CPU_FEATURES.items() if theirs in flags]


def _nvidia() -> list[Accelerator]:
    for program in _NVIDIA_SMI:
        query = f"--query-gpu={_NVIDIA_FIELDS}"
        if answer := _answer(program, query, "--format=csv,noheader,nounits"):
            return list(parse_nvidia_smi(answer))
    return []


def parse_nvidia_smi(answer: str) -> Iterator[Accelerator]:
    """Accelerators from the lines that `nvidia-smi` prints for our query; MiB become bytes."""
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 4 or not fields[1].isdigit():
            continue  # a warning, or a device whose memory is not told
        name, total, free, capability = fields
        yield Accelerator(
            kind="nvidia",
            name=name,
            memory_bytes=int(total) * 1024**2,
            free_bytes=int(free) * 1024**2 if free.isdigit() else None,
            bf16=capability.split(".")[0].isdigit() and int(capability.split(".")[0]) >= 8,
        )


def amd_accelerators(drivers: Path = Path("/sys/class/drm")) -> list[Accelerator]:
    """AMD's devices with memory of their own, as the kernel lists them below `drivers`."""
    found = []
    for device in sorted(drivers.glob("card[0-9]*/device")):
        total, used = _read(device / "mem_info_vram_total"), _read(device / "mem_info_vram_used")
        if _read(device / "vendor") != _AMD or not total.isdigit():
            continue
        free = int(total) - int(used) if used.isdigit() else None
        name = _read(device / "product_name") or f"AMD GPU {_read(device / 'device')}"
        found.append(Accelerator(kind="amd", name=name, memory_bytes=int(total), free_bytes=free))
    return found


def _apple(total: int, available: int) -> list[Accelerator]:
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return []
    name = _answer("sysctl", "-n", "machdep.cpu.brand_string").strip() or "Apple silicon"
    return [
        Accelerator(
            kind="apple", name=name, memory_bytes=total, free_bytes=available, shares_memory=True
        )
    ]


def _answer(*command: str) -> str:
    """What a program prints; nothing where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
