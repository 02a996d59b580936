"""Run records made of plain numbers, without a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attribution.record import RunRecord, Steps

BEGAN = "2026-03-01T12:00:00Z"


def synthetic_record(
    values: Mapping[str, Sequence[float]],
    *,
    house: Sequence[float] = (0.0,),
    gap: Sequence[float] = (0.0,),
    tasks: Sequence[str] = ("objective",),
    weights: Sequence[float] = (1.0,),
    rows: Mapping[str, int] | None = None,
    steps: int = 4,
    complete: bool = True,
    **details: Any,
) -> RunRecord:
    """A record whose totals are these; `values` are by contributor and task. Each step does an equal part."""
    contributors = list(values)
    total = np.array([values[name] for name in contributors], dtype=np.float64)
    per_step = np.repeat(total[None] / steps, steps, axis=0)
    houses = np.repeat(np.array(house)[None] / steps, steps, axis=0)
    gaps = np.repeat(np.array(gap)[None] / steps, steps, axis=0)
    drops = per_step.sum(axis=1) + houses + gaps
    losses = 8.0 - np.vstack([np.zeros(len(tasks)), np.cumsum(drops, axis=0)])
    counts = [0 if rows is None and not any(values[name]) else (rows or {}).get(name, 3) for name in contributors]
    return RunRecord(
        contributors=contributors,
        tasks=list(tasks),
        weights=np.array(weights),
        steps=Steps(
            loss_before=losses[:-1],
            loss_after=losses[1:],
            values=per_step,
            house=houses,
            gap=drops - per_step.sum(axis=1) - houses,
            nodes=np.full(steps, 2),
            rows=np.repeat(np.array(counts)[None], steps, axis=0),
        ),
        details={"began_at": BEGAN, "method": {"name": "path", "tolerance": 1e-3}, "seed": 1, **details},
        complete=complete,
        stopped=None if complete else "interrupted",
    )
