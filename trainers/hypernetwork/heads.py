"""How a hypernetwork from scratch makes an update of what it has read; none knows the closed form.

    ranks     each latent becomes a row of A and a column of B
    pointers  each latent also points at rows, whose keys and values are added to it
    rows      each row is written into one matrix, which is cut to the adapter's rank

The last one is a fast weight programmer (Schmidhuber 1992; Schlag et al. 2021): a sum of outer
products whose gates, keys and values are learnt, with a learnt metric between keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.closed_form.known import Known
from trainers.closed_form.statistics import LowRank, cut
from trainers.hypernetwork.encoders import Attention
from trainers.hypernetwork.rows import Rows
from trainers.hypernetwork.settings import HypernetworkSettings

BEND = 64
"""Rank of what is learnt about what the base model knows."""


class Ranks(nn.Module):
    """A pair of heads makes a rank of each latent.

    Args:
        known: what the base model knows; only its size is used, so that a row of A begins as
            large as a key.
    """

    def __init__(self, settings: HypernetworkSettings, known: Known) -> None:
        super().__init__()
        self.rank_a = nn.Linear(settings.hidden, settings.width)
        self.rank_b = nn.Linear(settings.hidden, settings.outputs)
        self.norm = nn.LayerNorm(settings.hidden)
        self.log_scale = nn.Parameter(torch.tensor(0.0))
        self.key_size: Tensor
        self.register_buffer("key_size", _size(known))

    def forward(self, told: Tensor, latents: Tensor, rows: Rows) -> Tensor:
        """The update, [outputs, width]."""
        made = self.distill(told, latents, rows)
        return made.b @ made.a

    def distill(self, told: Tensor, latents: Tensor, rows: Rows) -> LowRank:
        """The update, a rank a latent."""
        a, b = self._pairs(told, self.norm(latents), rows)
        return LowRank(b.T, a / self.key_size)

    def _pairs(self, told: Tensor, latents: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        a = F.normalize(self.rank_a(latents), dim=-1)
        return a, self.log_scale.exp() * self.rank_b(latents)


class Pointers(Ranks):
    """Latents point at rows by attention, and take their keys and values."""

    def __init__(self, settings: HypernetworkSettings, known: Known) -> None:
        super().__init__(settings, known)
        hidden, width = settings.hidden, settings.width
        self.asks = nn.Linear(hidden, hidden, bias=False)
        self.answers = nn.Linear(hidden, hidden, bias=False)
        # Sharp enough to point: a mean over all rows is nearly the same in every project.
        for layer in (self.asks, self.answers):
            nn.init.normal_(layer.weight, std=2.0 / hidden**0.5)
        self.bend_from = nn.Parameter(torch.randn(width, BEND) / width**0.5)
        self.bend_to = nn.Parameter(torch.zeros(BEND, width))
        self.log_copy = nn.Parameter(torch.tensor(0.0))
        self._epsilon = settings.epsilon

    def _pairs(self, told: Tensor, latents: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        a, b = super()._pairs(told, latents, rows)
        scores = self.asks(latents) @ self.answers(told).T / told.shape[-1] ** 0.5
        shares = scores.softmax(-1)
        keys = shares @ rows.keys
        a = a + F.normalize(keys + (keys @ self.bend_from) @ self.bend_to, dim=-1)
        copied = (shares @ rows.values) / rows.unit(self._epsilon)
        return a, b + self.log_copy.exp() * copied


class Writes(nn.Module):
    """Every row is written, as hard as its gate says, and again for what is then still wrong.

    Each pass writes of each row what looking its key up does not give yet (the delta rule, Widrow
    and Hoff 1960; Schlag et al. 2021), and goes on in the direction of those before it (momentum,
    Polyak 1964). How far a pass goes, and how much it keeps of the last one's direction, is learnt.

    Args:
        known: as of `Ranks`.
    """

    def __init__(self, settings: HypernetworkSettings, known: Known) -> None:
        super().__init__()
        hidden, width, outputs = settings.hidden, settings.width, settings.outputs
        self._rank = settings.rank
        self.context = Attention(hidden, settings.heads)
        self.gate = nn.Linear(hidden, 1)
        self.key = zero(nn.Linear(hidden, width))
        self.value = zero(nn.Linear(hidden, outputs))
        self.error = nn.Linear(outputs, outputs, bias=False)
        self.metric = nn.Parameter(torch.eye(width))
        self.log_strength = nn.Parameter(torch.tensor(_FIRST_STRENGTH).log())
        self.log_rates = nn.Parameter(torch.zeros(settings.passes))
        self.keeps = nn.Parameter(torch.full((settings.passes,), _FIRST_KEPT).logit())
        self._epsilon = settings.epsilon
        self.key_size: Tensor
        self.key_mean: Tensor
        self.register_buffer("key_size", _size(known))
        self.register_buffer("key_mean", known.rows.float().mean(0))

    def forward(self, told: Tensor, latents: Tensor, rows: Rows) -> Tensor:
        """The update, [outputs, width]."""
        told = self.context(told, latents)
        size = self.key_size / rows.keys.shape[-1] ** 0.5
        keys = (rows.keys - self.key_mean + size * self.key(told)) @ self.metric
        wanted = self.error(rows.values) + self.value(told)
        wanted = self.log_strength.exp() / rows.unit(self._epsilon) * wanted
        gates = torch.sigmoid(self.gate(told))
        found = rows.keys @ keys.T
        rates = self.log_rates.exp() / found.detach().norm()
        written = torch.zeros_like(wanted)
        direction = torch.zeros_like(wanted)
        for rate, kept in zip(rates, torch.sigmoid(self.keeps), strict=True):
            direction = kept * direction + rate * gates * (wanted - found @ written)
            written = written + direction
        update: Tensor = written.T @ keys
        return update

    def distill(self, told: Tensor, latents: Tensor, rows: Rows) -> LowRank:
        """The update, cut by what it does to the rows."""
        update = self(told, latents, rows)
        rank = min(self._rank, len(rows), *update.shape)
        return cut(update.double(), rows.keys.double().T @ rows.keys.double(), rank)


_FIRST_STRENGTH = 20.0
"""Nats by which the first value of a row would raise the right token."""
_FIRST_KEPT = 0.9
"""Of a pass's direction in the next one."""


def zero(layer: nn.Linear) -> nn.Linear:
    """The layer, giving nothing at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _size(known: Known) -> Tensor:
    """Root of the mean square of a key's norm."""
    mean_square = known.rows.square().sum() + known.rest * known.rows.shape[1]
    return mean_square.float().sqrt()
