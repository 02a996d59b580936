"""Tests of attribution compute in float64 unless they say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def matrices_large(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes the models' matrices large ones: their gradient is the parts' sum, and checked in turn only."""

    def make() -> None:
        smaller = 25  # biases and norms
        monkeypatch.setattr("attribution.ghost.providers.WORTH_REPLACING", smaller)
        monkeypatch.setattr("attribution.ghost.checks.CHECK_ALL", 0)
        monkeypatch.setattr("attribution.ghost.checks.CHECK_ALWAYS", smaller)
        monkeypatch.setattr("attribution.parameters.SMALL", smaller)

    return make
