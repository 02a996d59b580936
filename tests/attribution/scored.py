"""Small models of every kind of layer, and runs of them whose rows are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from attribution import InRunShapley, RunRecord
from attribution.scores import score_totals
from tests.attribution import models

NAMES = ["alice", "bob", "carol", "dave"]
ROWS = 6
WHO = torch.tensor([2, 0, 0, 2, 1, 0])


def vectors() -> Tensor:
    return torch.randn(ROWS, models.WIDTH)


def tokens() -> Tensor:
    return torch.randint(1, models.VOCABULARY, (ROWS, 4))


def padded() -> Tensor:
    found = tokens()
    for row in range(ROWS):
        found[row, row % 4 + 1 :] = 0
    return found


def images() -> Tensor:
    return torch.randn(ROWS, 1, 8, 8)


class Inside(nn.Module):
    """One layer between two others."""

    def __init__(self, layer: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(models.WIDTH, models.WIDTH), layer, nn.LazyLinear(3)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.call(self.layer, torch.tanh(self.before(x))))


def series() -> Tensor:
    return torch.randn(ROWS, 4, models.WIDTH)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear, layer norm": (models.Perceptron, vectors),
    "tied embeddings": (models.TiedLanguageModel, tokens),
    "tied embeddings, positions as a parameter": (lambda: models.TiedLanguageModel("parameter"), tokens),
    "padding, borrowed weight": (models.BorrowedHead, padded),
    "convolutions, group norm": (models.Convolutional, images),
    "instance norm, RMS norm": (
        lambda: Inside(
            nn.Sequential(nn.InstanceNorm1d(4, affine=True), nn.RMSNorm(models.WIDTH)), lambda layer, x: layer(x)
        ),
        series,
    ),
    "one-dimensional convolution": (
        lambda: Inside(nn.Conv1d(4, 5, 3, padding=1), lambda layer, x: layer(x)),
        series,
    ),
    "LSTM": (lambda: Inside(nn.LSTM(models.WIDTH, 5, batch_first=True), lambda layer, x: layer(x)[0]), series),
    "GRU, time first": (
        lambda: Inside(nn.GRU(models.WIDTH, 5), lambda layer, x: layer(x.transpose(0, 1))[0].transpose(0, 1)),
        series,
    ),
    "attention": (
        lambda: Inside(nn.MultiheadAttention(models.WIDTH, 2, batch_first=True), lambda layer, x: layer(x, x, x)[0]),
        series,
    ),
    "class token, encoder layer": (models.ClassToken, lambda: torch.randn(ROWS, 4, 4)),
    "repeated, weight norm": (models.Repeated, vectors),
    "flattened": (lambda: models.Flattening(time_major=True), tokens),
    "packed": (models.Packed, padded),
}


def built(kind: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    build, draw = MODELS[kind]
    model = build()
    model(draw())
    return model, draw


def loss_of(outputs: Tensor) -> Tensor:
    return (outputs - 0.5).square().mean() + 0.1 * outputs.cos().sum() / len(outputs)


def goals(draw: Callable[[], Tensor]) -> dict[str, Callable[[nn.Module], Tensor]]:
    one, two = draw(), draw()
    return {"one": lambda m: m(one).square().mean(), "two": lambda m: (m(two) - 0.3).cos().mean()}


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    draw: Callable[[], Tensor],
    *,
    steps: int = 3,
    accumulate: int = 1,
    clip: float | None = None,
    names: Callable[[int], Sequence[object] | None] = lambda batch: list(range(batch * ROWS, (batch + 1) * ROWS)),
    before_step: Callable[[], None] = lambda: None,
    **options: object,
) -> RunRecord:
    torch.manual_seed(11)
    meter = InRunShapley(model, optimizer, goals(draw), NAMES, **options)
    for step in range(steps):
        for part in range(accumulate):
            with meter.batch(WHO.roll(step), samples=names(step * accumulate + part)):
                (loss_of(model(draw())) / accumulate).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        before_step()
        optimizer.step()
        optimizer.zero_grad()
    return meter.finish()


def sums(record: RunRecord) -> np.ndarray:
    """Scores summed by contributor, ``[contributors, tasks]``."""
    totals = score_totals(record.scores)
    who = np.array([record.contributors.index(name) for name in totals["contributor"].to_pylist()])
    found = np.zeros(record.values.shape)
    np.add.at(found, who, np.stack([totals[task].to_numpy() for task in record.tasks], axis=1))
    return found


def prepared(kind: str) -> tuple[nn.Module, torch.optim.Optimizer, Callable[[], Tensor]]:
    torch.manual_seed(5)
    model, draw = built(kind)
    return model, torch.optim.SGD(model.parameters(), lr=0.02), draw
