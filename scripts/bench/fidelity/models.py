"""The three models: a perceptron for digits, a convolutional net for images, a transformer over bytes for text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fidelity.materials import CONTEXT


def perceptron() -> nn.Module:
    """64-64-64-10, float64."""
    return nn.Sequential(
        nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)
    ).double()  # fmt: skip


def convolutional() -> nn.Module:
    """Two strided convolutions with group norm, and a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.GroupNorm(2, 8),
        nn.GELU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.GroupNorm(4, 16),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(784, 10),
    )


class Block(nn.Module):
    """Causal attention and a perceptron, each after a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = self.qkv(self.first(x)).view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, width))
        return x + self.down(functional.gelu(self.up(self.second(x))))


class Transformer(nn.Module):
    """Two blocks over bytes."""

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(256, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


BUILDERS = {"digits": perceptron, "images": convolutional, "text": Transformer}


def mean_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, the mean over rows (and places in a row)."""
    return functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())


def mean_loss_by_row(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """What each row adds to `mean_loss`, ``[rows]``."""
    by_place = functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten(), reduction="none")
    return by_place.reshape(len(inputs), -1).sum(dim=1) / by_place.numel()
