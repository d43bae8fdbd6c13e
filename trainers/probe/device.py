"""The device and its arithmetic: what is found, whether gradients flow, whether bf16 is right."""

from __future__ import annotations

import time

import torch

from rune_engine.hardware import has_accelerator
from rune_engine.models.probing import Check, ProbeJob

REINSTALL = "Reinstall what it names, in versions that belong together."

_STEPS = 12
_SIZE = 512
_BF16_UNIT = 2.0**-8
"""Half the distance between 1 and the next bfloat16."""


def device() -> str:
    """Where trainers and the model worker compute."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def accelerator(_job: ProbeJob) -> Check:
    """Which accelerator PyTorch finds; on a machine with none, the processor it uses."""
    name = "accelerator"
    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        memory = sum(each.total_memory for each in found)
        built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm"
        detail = f"{', '.join(each.name for each in found)}, {memory / 1024**3:.0f} GiB"
        facts: dict[str, float | str] = {"devices": len(found), "memory_bytes": memory}
        detail += f", torch {torch.__version__} for {built_for}"
        return Check(name=name, status="good", detail=detail, facts=facts)
    if has_accelerator():
        detail = f"there is one, which torch {torch.__version__} cannot use"
        step = "Install the build of torch that suits the driver: https://pytorch.org."
        return Check(name=name, status="problem", detail=detail, next_step=step)
    detail = f"none: CPU ({torch.get_num_threads()} threads, {_instructions()})"
    return Check(name=name, status="good", detail=detail, facts={"devices": 0})


def _instructions() -> str:
    return torch.backends.cpu.get_cpu_capability()


def torch_steps(job: ProbeJob) -> Check:
    """A small transformer learns a sequence by heart for a few steps, forward and backward."""
    on = device()
    torch.manual_seed(job.seed)
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    model = torch.nn.Sequential(
        torch.nn.Embedding(128, 64),
        torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        torch.nn.Linear(64, 128),
    ).to(on)
    tokens = torch.randint(0, 128, (4, 33), device=on)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    began, losses = time.monotonic(), []
    for _ in range(_STEPS):
        loss = torch.nn.functional.cross_entropy(
            model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return _falling("torch steps", on, losses, time.monotonic() - began)


def _falling(name: str, on: str, losses: list[float], seconds: float) -> Check:
    detail = f"{len(losses)} steps on {on}, loss {losses[0]:.2f} to {losses[-1]:.2f}"
    facts: dict[str, float | str] = {
        "device": on,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "seconds": seconds,
    }
    if losses[-1] < 0.9 * losses[0]:
        return Check(name=name, status="good", detail=detail, facts=facts)
    return Check(name=name, status="problem", detail=f"{detail}: it must fall", next_step=REINSTALL)


def bf16(job: ProbeJob) -> Check:
    """A bfloat16 matrix product against the same product in float64.

    Added up in float32 and rounded once, or in a few parts that are rounded each, its error is
    within a few roundings of such sums; added up in bfloat16 throughout it would be far larger.
    """
    on = device()
    generator = torch.Generator().manual_seed(job.seed)
    a, b = (torch.randn(_SIZE, _SIZE, generator=generator).bfloat16() for _ in range(2))
    exact = a.double() @ b.double()
    a, b = a.to(on), b.to(on)
    product = (a @ b).cpu().double()
    allowed = _BF16_UNIT * (exact.abs() + 2 * _SIZE**0.5)
    worst = float(((product - exact).abs() / allowed).max())
    rate = _products_per_second(a, b) * 2 * _SIZE**3 / 1e9
    detail = f"a {_SIZE} x {_SIZE} product on {on} is right, {rate:.0f} GFLOP/s"
    facts: dict[str, float | str] = {"worst_error": worst, "gflops": rate, "device": on}
    if worst <= 1.0:
        return Check(name="bf16", status="good", detail=detail, facts=facts)
    detail = f"a product on {on} is wrong: {worst:.1f} times the error that rounding explains"
    step = "Serve with RUNE_SERVING__PRECISION=float32, and update torch and the driver."
    return Check(name="bf16", status="problem", detail=detail, next_step=step, facts=facts)


def _products_per_second(a: torch.Tensor, b: torch.Tensor, times: int = 10) -> float:
    began = time.monotonic()
    for _ in range(times):
        product = a @ b
    float(product[0, 0])  # an accelerator works on until somebody asks
    return times / (time.monotonic() - began)
