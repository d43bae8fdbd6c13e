"""Encoders: any number of rows become a fixed number of latents, behind one interface.

Perceiver (Jaegle et al. 2021), which is what Rune uses, and what it is compared with: mean pooling,
attention within attempts and then over them, and a recurrent network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from trainers.hypernetwork.settings import EncoderKind, HypernetworkSettings


class Attention(nn.Module):
    """Queries attend to rows, then a feed-forward layer; both with norms before and residuals."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm_queries, self.norm_rows = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key_value = nn.Linear(hidden, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)
        self.forward_norm = nn.LayerNorm(hidden)
        self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """[queries, hidden] and [rows, hidden] to [queries, hidden]."""
        seen = self.norm_rows(rows)
        keys, values = self.key_value(seen).chunk(2, dim=-1)
        asked = self._split(self.query(self.norm_queries(queries)))
        found = F.scaled_dot_product_attention(asked, self._split(keys), self._split(values))
        mixed = queries + self.out(found.transpose(0, 1).flatten(1))
        after: torch.Tensor = mixed + self.down(F.gelu(self.up(self.forward_norm(mixed))))
        return after

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        """[heads, rows, size]."""
        return rows.reshape(len(rows), self._heads, -1).transpose(0, 1)


class Perceiver(nn.Module):
    """Learnt queries attend to the rows, then to themselves; so often as there are blocks."""

    def __init__(self, settings: HypernetworkSettings) -> None:
        super().__init__()
        hidden, heads = settings.hidden, settings.heads
        self.latents = nn.Parameter(torch.randn(settings.latents, hidden) * 0.5)
        self.cross = nn.ModuleList(Attention(hidden, heads) for _ in range(settings.blocks))
        self.own = nn.ModuleList(Attention(hidden, heads) for _ in range(settings.blocks))

    def forward(self, rows: torch.Tensor, chunks: torch.Tensor) -> torch.Tensor:
        latents: torch.Tensor = self.latents
        for cross, own in zip(self.cross, self.own, strict=True):
            latents = cross(latents, rows)
            latents = own(latents, latents)
        return latents


class MeanPooling(nn.Module):
    """The mean row, from which each latent is a learnt projection."""

    def __init__(self, settings: HypernetworkSettings) -> None:
        super().__init__()
        self._latents = settings.latents
        self.each = nn.Linear(settings.hidden, settings.hidden)
        self.out = nn.Linear(settings.hidden, settings.latents * settings.hidden)

    def forward(self, rows: torch.Tensor, chunks: torch.Tensor) -> torch.Tensor:
        pooled = F.gelu(self.each(rows)).mean(0)
        made: torch.Tensor = self.out(pooled).unflatten(-1, (self._latents, -1))
        return made


class Hierarchical(nn.Module):
    """A query reads each attempt by itself; the latents read what those queries found."""

    def __init__(self, settings: HypernetworkSettings) -> None:
        super().__init__()
        hidden, heads = settings.hidden, settings.heads
        self.summaries = nn.Parameter(torch.randn(_SUMMARIES, hidden) * 0.5)
        self.within = Attention(hidden, heads)
        self.latents = nn.Parameter(torch.randn(settings.latents, hidden) * 0.5)
        self.over = nn.ModuleList(Attention(hidden, heads) for _ in range(settings.blocks))

    def forward(self, rows: torch.Tensor, chunks: torch.Tensor) -> torch.Tensor:
        attempts = torch.split(rows, torch.bincount(chunks).tolist())
        found = torch.cat([self.within(self.summaries, each) for each in attempts if len(each)])
        latents: torch.Tensor = self.latents
        for over in self.over:
            latents = over(latents, found)
        return latents


class Recurrent(nn.Module):
    """A gated recurrent network reads the rows in order; its states are what the latents read."""

    def __init__(self, settings: HypernetworkSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.reader = nn.GRU(hidden, hidden, num_layers=settings.blocks, batch_first=True)
        self.latents = nn.Parameter(torch.randn(settings.latents, hidden) * 0.5)
        self.over = Attention(hidden, settings.heads)

    def forward(self, rows: torch.Tensor, chunks: torch.Tensor) -> torch.Tensor:
        states, _ = self.reader(rows.unsqueeze(0))
        latents: torch.Tensor = self.over(self.latents, states.squeeze(0))
        return latents


_SUMMARIES = 8
"""Latents of an attempt, in the hierarchical encoder."""

_ENCODERS: Mapping[EncoderKind, Callable[[HypernetworkSettings], nn.Module]] = {
    "perceiver": Perceiver,
    "mean": MeanPooling,
    "hierarchical": Hierarchical,
    "recurrent": Recurrent,
}


def make_encoder(settings: HypernetworkSettings) -> nn.Module:
    """A module from rows, [rows, hidden], and their attempts to latents, [latents, hidden]."""
    return _ENCODERS[settings.encoder](settings)
