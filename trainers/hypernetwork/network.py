"""The hypernetworks: a project's rows in, the update of the last `down_proj` out."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from trainers.closed_form.statistics import LowRank, Statistics, solve
from trainers.hypernetwork.encoders import Attention, make_encoder
from trainers.hypernetwork.rows import Rows
from trainers.hypernetwork.settings import HypernetworkSettings

_SETTINGS, _WEIGHTS = "hypernetwork.json", "hypernetwork.safetensors"


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
    there; the ridge's metric says which differences between keys do not matter.

    Args:
        known: C, the mean of k k^T over what the base model knows, [width, width].
    """

    def __init__(self, settings: HypernetworkSettings, known: torch.Tensor) -> None:
        super().__init__()
        self.settings = settings
        hidden = settings.hidden
        self.known: torch.Tensor
        self.register_buffer("known", known.float())
        self.features = Features(settings)
        self.encoder = make_encoder(settings)
        self.context = Attention(hidden, settings.heads)
        self.gate = _zero(nn.Linear(hidden, 1))
        self.key = _zero(nn.Linear(hidden, settings.width))
        self.value = _zero(nn.Linear(hidden, settings.outputs))
        self.log_ridge = nn.Parameter(torch.tensor(settings.ridge).log())
        self.log_strength = nn.Parameter(torch.tensor(settings.strength).log())
        self.metric = nn.Parameter(torch.randn(settings.width, _METRIC) * 1e-3)

    def forward(self, rows: Rows) -> torch.Tensor:
        """The update, [outputs, width], of any rank."""
        weighted, values, known = self._corrected(rows)
        gram = weighted.T @ weighted + known
        gram = gram + 1e-5 * gram.diagonal().mean() * torch.eye(len(gram))
        solved = torch.cholesky_solve(weighted.T @ values, torch.linalg.cholesky(gram))
        return solved.T

    @torch.no_grad()
    def distill(self, rows: Rows) -> LowRank:
        """The update, cut to the adapters' rank."""
        weighted, values, known = self._corrected(rows)
        taught = Statistics.of(weighted, values)
        return solve(taught, known.double(), 1.0, 1.0, self.settings.rank)

    def _corrected(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keys and values times the root of their gates, and the ridge."""
        told = self.features(rows)
        told = self.context(told, self.encoder(told, rows.chunks))
        root = (2 * torch.sigmoid(self.gate(told))).sqrt()
        size = rows.keys.norm(dim=-1, keepdim=True) / rows.keys.shape[-1] ** 0.5
        keys = rows.keys + size * self.key(told)
        values = self.log_strength.exp() * (rows.values + self.value(told))
        known = self.log_ridge.exp() * (self.known + self.metric @ self.metric.T)
        return root * keys, root * values, known


class Scratch(nn.Module):
    """Latents, of each of which a pair of heads makes a rank: a row of A and a column of B.

    Args:
        known: as for `Refined`; only its size is used, so that A begins as large as a key.
    """

    def __init__(self, settings: HypernetworkSettings, known: torch.Tensor) -> None:
        super().__init__()
        self.settings = settings
        hidden = settings.hidden
        self.features = Features(settings)
        self.encoder = make_encoder(settings)
        self.rank_a = nn.Linear(hidden, settings.width)
        self.rank_b = nn.Linear(hidden, settings.outputs)
        self.norm = nn.LayerNorm(hidden)
        self.log_scale = nn.Parameter(torch.tensor(0.0))
        self.key_size: torch.Tensor
        self.register_buffer("key_size", known.diagonal().sum().float().sqrt())

    def forward(self, rows: Rows) -> torch.Tensor:
        """The update, [outputs, width]."""
        made = self.distill(rows) if not torch.is_grad_enabled() else self._made(rows)
        return made.b @ made.a

    @torch.no_grad()
    def distill(self, rows: Rows) -> LowRank:
        """The update as the heads make it, a rank a latent."""
        return self._made(rows)

    def _made(self, rows: Rows) -> LowRank:
        latents = self.norm(self.encoder(self.features(rows), rows.chunks))
        a = F.normalize(self.rank_a(latents), dim=-1) / self.key_size
        return LowRank((self.log_scale.exp() * self.rank_b(latents)).T, a)


_METRIC = 64
"""Rank of what is learnt to be added to the ridge's metric."""


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


Hypernetwork = Refined | Scratch


def make(settings: HypernetworkSettings, known: torch.Tensor) -> Hypernetwork:
    """An untrained hypernetwork."""
    return (Refined if settings.kind == "refined" else Scratch)(settings, known)


def save(network: Hypernetwork, folder: Path) -> None:
    """Write settings and weights into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = network.settings.model_dump_json(indent=2)
    (folder / _SETTINGS).write_text(text + "\n", encoding="utf-8")
    save_file({name: t.contiguous() for name, t in network.state_dict().items()}, folder / _WEIGHTS)


def load(folder: Path) -> Hypernetwork:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: nothing was.
    """
    settings = HypernetworkSettings.model_validate_json((folder / _SETTINGS).read_bytes())
    network = make(settings, torch.zeros(settings.width, settings.width))
    network.load_state_dict(load_file(folder / _WEIGHTS))
    return network.eval()
