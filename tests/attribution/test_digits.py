"""The runs of DESIGN §3.2 on real data: the gap that each method leaves, relative to the improvement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from attribution import InRunShapley, RunRecord

CONTRIBUTORS = 8
RUNS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.1), 200),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), 100),
    "Adam": (lambda p: torch.optim.Adam(p, lr=0.003), 100),
}


def metered(kind: str, dtype: torch.dtype, activation: type[nn.Module] = nn.Tanh, **options: object) -> RunRecord:
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data / 16).to(dtype)
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images))
    held_out, training = order[:400], order[400:]
    owner = torch.arange(len(training)) % CONTRIBUTORS
    targets = labels[training].clone()
    targets[owner == 7] = torch.randint(0, 10, (int((owner == 7).sum()),))
    model = nn.Sequential(nn.Linear(64, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, 10))
    build, steps = RUNS[kind]
    optimizer = build(model.parameters())

    def validation(m: nn.Module) -> torch.Tensor:
        return functional.cross_entropy(m(images[held_out]), labels[held_out])

    meter = InRunShapley(model, optimizer, validation, [f"contributor {c}" for c in range(CONTRIBUTORS)], **options)
    for _ in range(steps):
        rows = torch.randint(0, len(training), (64,))
        with meter.batch(owner[rows]):
            functional.cross_entropy(model(images[training[rows]]), targets[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return meter.finish()


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", RUNS)
def test_simpson_everywhere_leaves_next_to_nothing(kind: str, dtype: torch.dtype, most: float) -> None:
    record = metered(kind, dtype, nodes=3)
    assert record.improvement[0] > 0.5
    assert abs(record.gap[0]) <= most * record.improvement[0]


@pytest.mark.parametrize("kind", RUNS)
def test_the_default_meets_its_tolerance_with_fewer_nodes_than_simpson_and_random_labels_come_last(kind: str) -> None:
    record = metered(kind, torch.float32)
    assert abs(record.gap[0]) <= 1e-3 * record.improvement[0]
    assert record.steps.nodes.mean() < 3
    assert np.argmin(record.values[:, 0]) == 7


@pytest.mark.parametrize("kind", RUNS)
def test_the_kinks_of_relu_are_integrated_to_the_tolerance_too(kind: str) -> None:
    record = metered(kind, torch.float32, nn.ReLU)
    assert abs(record.gap[0]) <= 1e-3 * record.improvement[0]
    assert record.steps.nodes.mean() < 5


def test_first_order_misses_where_the_path_does_not() -> None:
    record = metered("SGD", torch.float64, method="first_order")
    assert abs(record.gap[0]) > 0.1 * record.improvement[0]
