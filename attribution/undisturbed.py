"""Run the model on the side and leave no trace: modes, random state, gradients and buffers come back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random state of Python, numpy and torch (CPU and the current accelerator) afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Restore the contents of every buffer that was written to meanwhile."""
    saved = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    versions = [buffer._version for buffer, _ in saved]
    try:
        yield
    finally:
        with torch.no_grad():
            for (buffer, copy), version in zip(saved, versions, strict=True):
                if buffer._version != version:
                    buffer.copy_(copy)


@contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Put every parameter's own ``.grad`` aside, and back afterwards."""
    saved: list[tuple[nn.Parameter, Tensor | None]] = [(p, p.grad) for p in model.parameters()]
    try:
        for parameter, _ in saved:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in saved:
            parameter.grad = gradient


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) inside; each module's own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """All of the above: what a validation gradient needs so that training never notices it."""
    with random_state_kept(), buffers_kept(model), gradients_kept(model), evaluation_mode(model):
        yield
