"""Run records made of plain numbers, without a training run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attribution.record import RunRecord, Steps, Valuation

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
    length: Sequence[int] | None = None,
    telescopes: bool = True,
    complete: bool = True,
    standard_errors: Mapping[str, Sequence[float]] | None = None,
    **details: Any,
) -> RunRecord:
    """A record whose totals are these; `values` are by contributor and task. Each step does an equal part.

    Where the losses do not telescope, every step's are of a validation batch with another level.
    """
    contributors = list(values)
    total = np.array([values[name] for name in contributors], dtype=np.float64)
    per_step = np.repeat(total[None] / steps, steps, axis=0)
    houses = np.repeat(np.array(house)[None] / steps, steps, axis=0)
    gaps = np.repeat(np.array(gap)[None] / steps, steps, axis=0)
    drops = per_step.sum(axis=1) + houses + gaps
    losses = 8.0 - np.vstack([np.zeros(len(tasks)), np.cumsum(drops, axis=0)])
    levels = np.arange(steps)[:, None] * (0.0 if telescopes else 0.125)
    counts = [0 if rows is None and not any(values[name]) else (rows or {}).get(name, 3) for name in contributors]
    return RunRecord(
        contributors=contributors,
        tasks=list(tasks),
        weights=np.array(weights),
        steps=Steps(
            loss_before=losses[:-1] + levels,
            loss_after=losses[1:] + levels,
            values=per_step,
            house=houses,
            gap=drops - per_step.sum(axis=1) - houses,
            nodes=np.full(steps, 2),
            rows=np.repeat(np.array(counts)[None], steps, axis=0),
            length=None if length is None else np.array(length),
        ),
        telescopes=telescopes,
        standard_errors=None if standard_errors is None else np.array([standard_errors[name] for name in contributors]),
        details={"began_at": BEGAN, "method": {"name": "path", "tolerance": 1e-3}, "seed": 1, **details},
        complete=complete,
        stopped=None if complete else "interrupted",
    )


def with_beside(record: RunRecord, **beside: Mapping[str, Sequence[float]]) -> RunRecord:
    """The record with valuations beside it: names, with underscores for spaces, and values by contributor and task.

    The gap takes what they leave of the improvement.
    """
    found = {}
    for name, values in beside.items():
        array = np.array([values[who] for who in record.contributors], dtype=np.float64)
        gap = record.improvement - array.sum(axis=0) - record.house
        found[name.replace("_", " ")] = Valuation(array, record.house, gap, nodes=6)
    return replace(record, beside=found)


def with_all_to(record: RunRecord, contributor: str, **details: Any) -> RunRecord:
    """The record with a valuation beside it, called "other", that gives the whole improvement to one contributor."""
    values = np.zeros(record.values.shape)
    values[record.contributors.index(contributor)] = record.improvement - record.house
    gap = record.improvement - values.sum(axis=0) - record.house
    return replace(record, beside={"other": Valuation(values, record.house, gap, nodes=6, details=details)})
