"""The hypernetworks: a project's rows in, the update of the last `down_proj` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from trainers.closed_form.choosing import is_wide
from trainers.closed_form.known import Known
from trainers.closed_form.statistics import LowRank, Products, Statistics, solve
from trainers.hypernetwork.encoders import Attention, make_encoder
from trainers.hypernetwork.heads import BEND, Pointers, Ranks, Writes, zero
from trainers.hypernetwork.rows import Rows
from trainers.hypernetwork.settings import HeadsKind, HypernetworkSettings


class Features(nn.Module):
    """What is known of a row, as one vector: its key, its state, the right token, its loss."""

    def __init__(self, settings: HypernetworkSettings) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            nn.LayerNorm(size) for size in (settings.width, settings.outputs, settings.outputs)
        )
        size = settings.width + 2 * settings.outputs + 2
        self.project = nn.Linear(size, settings.hidden)

    def forward(self, rows: Rows) -> torch.Tensor:
        """[rows, hidden]."""
        wide = (rows.keys, rows.states, rows.right)
        parts = [norm(part) for norm, part in zip(self.norms, wide, strict=True)]
        losses = rows.losses.unsqueeze(-1)
        made: torch.Tensor = self.project(torch.cat([*parts, losses / 10, (-losses).exp()], dim=-1))
        return made


class Refined(nn.Module):
    """The closed form with learnt corrections, all of which start at none.

    A row's gate says how much it counts, its key and value where it is looked up and what is found
    there; what the base model knows is bent where a memory may cost it something, or need not.

    Args:
        known: what the base model knows.
    """

    def __init__(self, settings: HypernetworkSettings, known: Known) -> None:
        super().__init__()
        self.settings = settings
        hidden, width = settings.hidden, settings.width
        self.known: torch.Tensor
        self.rest: torch.Tensor
        self.register_buffer("known", known.rows.float())
        self.register_buffer("rest", torch.tensor(known.rest))
        self.features = Features(settings)
        self.encoder = make_encoder(settings)
        self.context = Attention(hidden, settings.heads)
        self.gate = zero(nn.Linear(hidden, 1))
        self.key = zero(nn.Linear(hidden, width))
        self.value = zero(nn.Linear(hidden, settings.outputs))
        self.log_ridge = nn.Parameter(torch.tensor(settings.ridge).log())
        self.log_strength = nn.Parameter(torch.tensor(settings.strength).log())
        self.bend_from = nn.Parameter(torch.randn(width, BEND) / width**0.5)
        self.bend_to = nn.Parameter(torch.zeros(BEND, width))

    def forward(self, rows: Rows) -> torch.Tensor:
        """The update, [outputs, width], of any rank."""
        keys, values, known, rest = self._corrected(rows)
        every = torch.cat([keys, known])
        size = rest + _STEADYING * (every.square().sum() / every.shape[1] + rest)
        wide = is_wide(every.shape[1], len(every))
        gram = every @ every.T if wide else every.T @ every
        factor = torch.linalg.cholesky(gram + size * torch.eye(len(gram)))
        if not wide:
            return torch.cholesky_solve(keys.T @ values, factor).T
        padded = torch.cat([values, values.new_zeros(len(known), values.shape[1])])
        return torch.cholesky_solve(padded, factor).T @ every

    @torch.no_grad()
    def distill(self, rows: Rows) -> LowRank:
        """The update, cut to the adapters' rank."""
        keys, values, known, rest = self._corrected(rows)
        rank = min(self.settings.rank, len(keys), *keys.shape[1:], *values.shape[1:])
        if is_wide(keys.shape[1], len(keys) + len(known)):
            return Products.of(keys, values, known, float(rest)).solve(1.0, 1.0, rank)
        mean = Known(known, float(rest)).mean()
        return solve(Statistics.of(keys, values), mean, 1.0, 1.0, rank)

    def _corrected(
        self, rows: Rows
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keys and values times the root of their gates; rows and rest of the ridge."""
        told = self.features(rows)
        told = self.context(told, self.encoder(told, rows.chunks))
        root = (2 * torch.sigmoid(self.gate(told))).sqrt()
        size = rows.keys.norm(dim=-1, keepdim=True) / rows.keys.shape[-1] ** 0.5
        keys = rows.keys + size * self.key(told)
        strength = self.log_strength.exp() / rows.unit(self.settings.epsilon)
        values = strength * (rows.values + self.value(told))
        ridge = self.log_ridge.exp()
        known = self.known + (self.known @ self.bend_from) @ self.bend_to
        return root * keys, root * values, ridge.sqrt() * known, ridge * self.rest


class Scratch(nn.Module):
    """Rows are read, and heads make an update of them: see `heads`.

    Args:
        known: what the base model knows; only its size is used.
    """

    def __init__(self, settings: HypernetworkSettings, known: Known) -> None:
        super().__init__()
        self.settings = settings
        self.features = Features(settings)
        self.encoder = make_encoder(settings)
        self.made = _HEADS[settings.heads_kind](settings, known)

    def forward(self, rows: Rows) -> torch.Tensor:
        """The update, [outputs, width]."""
        update: torch.Tensor = self.made(*self._read(rows), rows)
        return update

    @torch.no_grad()
    def distill(self, rows: Rows) -> LowRank:
        """The update, of the adapters' rank."""
        return self.made.distill(*self._read(rows), rows)

    def _read(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        told = self.features(rows)
        return told, self.encoder(told, rows.chunks)


_HEADS: Mapping[HeadsKind, Callable[[HypernetworkSettings, Known], Ranks | Writes]] = {
    "ranks": Ranks,
    "pointers": Pointers,
    "rows": Writes,
}
_STEADYING = 1e-5
"""As in `statistics`; float32 needs more of it."""


Hypernetwork = Refined | Scratch


def make(settings: HypernetworkSettings, known: Known) -> Hypernetwork:
    """An untrained hypernetwork."""
    return (Refined if settings.kind == "refined" else Scratch)(settings, known)
