"""The axioms that a run record claims (DESIGN §3.2), checked on its numbers. Pure; findings, not exceptions.

What a record can show: that every nat is accounted for, that who supplied nothing got nothing, that totals are the sums
of their parts. What it cannot: symmetry between contributors whose batches differed. That is checked where the caller
names contributors who supplied identical rows, and otherwise said to be unchecked; the method's own tests prove it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attribution.record import RunRecord

ROUNDING = 1e-9  # of the largest number in a sum, in float64
LOSS_ROUNDING = 1e-6  # of a loss: two evaluations of one model, in float32
NULL_PLAYER_METHODS = frozenset({"path", "first_order"})

_Arrays = npt.NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """Whether one claim of one axiom holds."""

    axiom: str
    ok: bool
    detail: str
    residual: float  # nats, the largest found; 0 where there is nothing to measure


def check_axioms(record: RunRecord, *, identical: Sequence[tuple[str, str]] = ()) -> list[Finding]:
    """Every axiom's findings. `identical` names pairs of contributors who supplied the same rows in every batch."""
    if not len(record.steps):
        return [Finding("efficiency", False, "the record has no step: nothing was measured", 0.0)]
    unfinished = _finite(record)
    if unfinished:
        return [unfinished]
    return [
        *_efficiency(record),
        _null_player(record),
        *_symmetry(record, identical),
        *_additivity(record),
    ]


def _finite(record: RunRecord) -> Finding | None:
    for name in ("loss_before", "loss_after", "values", "house", "gap"):
        bad = ~np.isfinite(getattr(record.steps, name))
        if bad.any():
            step = int(np.argwhere(bad)[0][0])
            return Finding("efficiency", False, f"step {step}: {name} is not finite", math.inf)
    return None


def _efficiency(record: RunRecord) -> Iterator[Finding]:
    s = record.steps
    parts = s.values.sum(axis=1) + s.house + s.gap
    scale = np.maximum.reduce(
        [np.abs(s.loss_before), np.abs(s.loss_after), np.abs(s.values).sum(axis=1), np.abs(s.house), np.abs(s.gap)]
    )
    yield _within(
        "efficiency", "every step's improvement is values plus house plus gap", record, "step",
        np.abs(s.loss_before - s.loss_after - parts), ROUNDING * scale,
    )  # fmt: skip
    yield _within(
        "efficiency", "every step begins at the loss at which the one before ended", record, "step",
        np.abs(s.loss_before[1:] - s.loss_after[:-1]), LOSS_ROUNDING * np.maximum(np.abs(s.loss_before[1:]), 1),
        first=1,
    )  # fmt: skip
    total = record.values.sum(axis=0) + record.house + record.gap
    yield _within(
        "efficiency", "the run's improvement is values plus house plus gap", record, "run",
        np.abs(record.improvement - total)[None],
        ROUNDING * np.maximum(np.abs(record.improvement), np.abs(record.values).sum(axis=0) + 1e-300)[None],
    )  # fmt: skip


def _null_player(record: RunRecord) -> Finding:
    method = record.details.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    if name is not None and name not in NULL_PLAYER_METHODS:
        return Finding("null player", True, f"not claimed by method {name!r}: not checked", 0.0)
    # Until its first row a contributor has neither gradient nor momentum, so its value is 0 and not merely small.
    before_first_row = np.cumsum(record.steps.rows, axis=0) == 0
    early = np.abs(record.steps.values) * before_first_row[:, :, None]
    worst = float(early.max())
    if worst > 0:
        step, contributor, task = (int(i) for i in np.unravel_index(int(early.argmax()), early.shape))
        detail = (
            f"step {step}: {record.contributors[contributor]!r} has supplied no row yet "
            f"but has a value on task {record.tasks[task]!r}"
        )
        return Finding("null player", False, detail, worst)
    idle = int((record.rows == 0).sum())
    return Finding("null player", True, f"nobody has a value before their first row; {idle} supplied none", 0.0)


def _symmetry(record: RunRecord, identical: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    if not identical:
        yield Finding("symmetry", True, "no contributors are said to have supplied identical rows: not checked", 0.0)
    for one, other in identical:
        unknown = [name for name in (one, other) if name not in record.contributors]
        if unknown:
            yield Finding("symmetry", False, f"{unknown[0]!r} is not a contributor of the run", 0.0)
            continue
        a, b = record.contributors.index(one), record.contributors.index(other)
        if (record.steps.rows[:, a] != record.steps.rows[:, b]).any():
            step = int(np.argmax(record.steps.rows[:, a] != record.steps.rows[:, b]))
            detail = (
                f"step {step}: {one!r} and {other!r} are said to be identical but supplied different numbers of rows"
            )
            yield Finding("symmetry", False, detail, 0.0)
            continue
        difference = np.abs(record.steps.values[:, a] - record.steps.values[:, b])
        scale = np.abs(record.steps.values).sum(axis=1)
        yield _within(
            "symmetry", f"{one!r} and {other!r}, identical, have equal values", record, "step",
            difference, LOSS_ROUNDING * scale,
        )  # fmt: skip


def _additivity(record: RunRecord) -> Iterator[Finding]:
    totals = record.manifest["totals"]
    for name in ("values", "house"):
        steps: _Arrays = getattr(record.steps, name)
        summed = np.array([math.fsum(column) for column in steps.reshape(len(steps), -1).T]).reshape(steps.shape[1:])
        stated = np.asarray(totals[name], dtype=np.float64)
        if stated.shape != summed.shape:
            yield Finding("additivity", False, f"the manifest's total of {name} has another shape than the steps", 0.0)
            continue
        scale = np.abs(steps).sum(axis=0)
        yield _within(
            "additivity", f"the stated total of {name} is the sum over steps", record, "run",
            np.abs(summed - stated).reshape(1, -1), (ROUNDING * scale).reshape(1, -1),
        )  # fmt: skip
    stated = np.asarray(totals["improvement"], dtype=np.float64)
    steps_improvement = (record.steps.loss_before - record.steps.loss_after).sum(axis=0)
    scale = np.abs(record.steps.loss_before).max(axis=0)
    yield _within(
        "additivity", "the stated improvement is the sum of the steps' improvements", record, "run",
        np.abs(stated - steps_improvement)[None], (LOSS_ROUNDING * np.maximum(scale, 1) * len(record.steps))[None],
    )  # fmt: skip


def _within(
    axiom: str, claim: str, record: RunRecord, what: str, residual: _Arrays, allowed: _Arrays, first: int = 0
) -> Finding:
    """A finding that no residual [steps or 1, …] is larger than what rounding allows."""
    excess = ~(residual <= allowed + 1e-15)
    worst = float(residual.max()) if residual.size else 0.0
    if not excess.any():
        return Finding(axiom, True, claim, worst)
    row = int(np.argwhere(excess)[0][0])
    where = f"step {row + first}" if what == "step" else "the run"
    return Finding(axiom, False, f"{where}: not so that {claim}: off by {float(residual[row].max()):.3e} nat", worst)
