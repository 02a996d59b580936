"""The progress bar: loss, speed, time left, and who leads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attribution.meter import InRunShapley

_LEADERS = 3
_SMOOTHING = 0.9  # of the loss shown
_WARM_STEPS = 2  # left out of the speed: the first steps pay for allocation and the meter's proofs


class ProgressWatcher:
    """Shows each step of a training run on a rich progress bar."""

    def __init__(self, progress: Progress, steps: int, contributors: list[str], weights: list[float]) -> None:
        self._progress, self._contributors, self._weights = progress, contributors, np.asarray(weights)
        self._bar = progress.add_task("training", total=steps, loss="–", speed="–", leaders="")
        self._loss: float | None = None
        self._steps, self._tokens, self._started = 0, 0, monotonic()

    def step(self, loss_nats: float, tokens: int, meter: InRunShapley) -> None:
        """Advance the bar by one step."""
        self._loss = loss_nats if self._loss is None else _SMOOTHING * self._loss + (1 - _SMOOTHING) * loss_nats
        self._steps += 1
        if self._steps == _WARM_STEPS:
            self._tokens, self._started = 0, monotonic()
        else:
            self._tokens += tokens
        speed = self._tokens / max(monotonic() - self._started, 1e-9)
        values = meter.values @ self._weights
        leaders = "  ".join(f"{self._contributors[c]} {values[c]:+.3f}" for c in np.argsort(-values)[:_LEADERS])
        shown = f"leading: {leaders}" if np.isfinite(meter.losses).all() else ""  # until the first path has ended
        self._progress.update(self._bar, advance=1, loss=f"{self._loss:.3f}", speed=f"{speed:,.0f}", leaders=shown)


@contextmanager
def progress_on(
    console: Console | None, steps: int, contributors: list[str], weights: list[float]
) -> Iterator[ProgressWatcher | None]:
    """A watcher that shows progress on a console; None without a console."""
    if console is None:
        yield None
        return
    with Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} tokens/s"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[leaders]}"),
        console=console,
    ) as progress:
        yield ProgressWatcher(progress, steps, contributors, weights)
