"""The training loop: one metered optimizer step after another, until the end, a Ctrl-C or a loss that is not finite."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from attribution.errors import NonFiniteError
from attribution.meter import InRunShapley
from attribution.record import RunRecord
from attribution.training.configuration import TrainingConfiguration
from attribution.training.corpus import Batch, next_token_loss

FINAL_RATE = 0.1  # the learning rate at the end, as a share of its peak


class Watcher(Protocol):
    """Who wants to know how the training goes."""

    def step(self, loss_nats: float, tokens: int, meter: InRunShapley) -> None:
        """Called after each step with the training loss, the tokens of its batch, and the meter."""


def build_optimizer(model: nn.Module, configuration: TrainingConfiguration) -> Optimizer:
    """The configured optimizer; weight decay only on matrices, as is the custom with transformers."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": configuration.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    rate = configuration.learning_rate
    match configuration.optimizer:
        case "adamw":
            return AdamW(groups, lr=rate)
        case "adam":
            return Adam(groups, lr=rate)
        case "sgd":
            return SGD(groups, lr=rate, momentum=configuration.momentum)


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """The learning rate in a step as a share of its peak: a linear rise over `warmup` of the steps, then a cosine."""
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, steps - rise)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


def run_steps(
    model: nn.Module,
    optimizer: Optimizer,
    meter: InRunShapley,
    batches: Iterable[Batch],
    steps: int,
    configuration: TrainingConfiguration,
    watcher: Watcher | None = None,
) -> RunRecord:
    """Train on `batches` for at most `steps` steps and finish the meter.

    The record is partial, and says why, after a Ctrl-C (which waits for the step to end; a second one does not) and
    after a loss or gradient that is not finite.
    """
    schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, configuration.warmup))
    parameters = [p for p in model.parameters() if p.requires_grad]
    stopped: str | None = None
    with _interruption() as interrupted:
        for number, batch in enumerate(batches, start=1):
            if number > steps:
                break
            try:
                with meter.batch(batch.who, samples=batch.samples if configuration.scores else None):
                    loss = next_token_loss(model, batch.tokens)
                    loss.backward()  # type: ignore[no-untyped-call]
                if configuration.clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, configuration.clip_norm)
                optimizer.step()
            except NonFiniteError as error:
                stopped = str(error)
                break
            optimizer.zero_grad()
            schedule.step()
            if watcher is not None:
                watcher.step(loss.item(), batch.tokens.numel(), meter)
            if interrupted():
                stopped = f"interrupted by the user at step {number}"
                break
    return meter.finish(stopped=stopped)


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into an answer to a question; the second works as usual."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread receives signals
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
