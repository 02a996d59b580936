"""The models and batches on which scripts/bench/overhead.py times the meter."""

from __future__ import annotations

import argparse
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

Batch = Sequence[Tensor]


@dataclass
class Problem:
    """A model in training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[Callable[[Tensor], Tensor], Batch], Tensor]
    sample: Callable[[int, torch.Generator], Batch]
    rows: int
    contributors: int
    validation: list[Batch]
    tensors: int
    generator: torch.Generator

    def draw(self) -> tuple[Batch, Tensor]:
        """A batch and the contributors of its rows."""
        who = torch.randint(0, self.contributors, (self.rows,), generator=self.generator).sort().values
        return self.sample(self.rows, self.generator), who

    def objective(self, task: int) -> Callable[[nn.Module], Tensor]:
        """The validation loss of one task."""
        return lambda model: self.loss(model, self.validation[task])


def problem(options: argparse.Namespace, validation: int) -> Problem:
    """A fresh model of the shape asked for; the same one each time."""
    torch.manual_seed(0)
    model, loss, sample = {"gpt": _gpt, "convolutions": _convolutions, "perceptron": _perceptron}[options.model](
        options
    )
    generator = torch.Generator().manual_seed(1)
    held_out = [sample(validation, generator) for _ in range(options.tasks)]
    return Problem(
        model,
        torch.optim.AdamW(model.parameters(), lr=1e-3),
        loss,
        sample,
        options.rows,
        options.contributors,
        held_out,
        len(held_out[0]),
        generator,
    )


class _Logits(nn.Module):
    """The model's logits alone, so that all loops call it alike."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor) -> Tensor:
        return self.inner(ids).logits


def _gpt(options: argparse.Namespace):
    shape = {"n_layer": options.layers, "n_embd": options.width, "n_head": max(options.width // 64, 1)}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    tokens = {"vocab_size": options.vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    model = _Logits(
        GPT2LMHeadModel(GPT2Config(n_positions=options.context, use_cache=False, **shape, **dropout, **tokens))
    )
    text = _text(options.vocabulary)

    def loss(model: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch[0])[:, :-1].flatten(0, 1), batch[0][:, 1:].flatten())

    def sample(rows: int, generator: torch.Generator) -> Batch:
        starts = torch.randint(0, len(text) - options.context, (rows,), generator=generator)
        return [torch.stack([text[start : start + options.context] for start in starts])]

    return model, loss, sample


def _convolutions(options: argparse.Namespace):
    width = options.width // 4
    layers: list[nn.Module] = []
    for channels_in, channels_out in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.GroupNorm(8, channels_out), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * 16, 10))
    return model, _classify, _labelled(torch.randn(10, 3, 32, 32))


def _perceptron(options: argparse.Namespace):
    width = 4 * options.width
    model = nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 10),
    )  # fmt: skip
    return model, _classify, _labelled(torch.randn(10, width))


def _classify(model: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def _labelled(patterns: Tensor) -> Callable[[int, torch.Generator], Batch]:
    """Noisy copies of one pattern a class."""

    def sample(rows: int, generator: torch.Generator) -> Batch:
        labels = torch.randint(0, len(patterns), (rows,), generator=generator)
        return [0.3 * patterns[labels] + torch.randn(rows, *patterns.shape[1:], generator=generator), labels]

    return sample


def _text(vocabulary: int) -> Tensor:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]
    content = b"".join(path.read_bytes() for path in files)
    # Pairs of bytes, folded into the vocabulary: real statistics at any size.
    pairs = torch.frombuffer(bytearray(content[: len(content) // 2 * 2]), dtype=torch.uint8).view(-1, 2).long()
    return (pairs[:, 0] * 256 + pairs[:, 1]) * 2654435761 % 4294967296 % vocabulary
