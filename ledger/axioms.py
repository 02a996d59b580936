"""The axioms that a run record claims (DESIGN §3.2), checked on its numbers. Pure; findings, not exceptions.

What a record can show: that every nat is accounted for, that who supplied nothing got nothing, that totals are the sums
of their parts. What it cannot: symmetry between contributors whose batches differed. That is checked where the caller
names contributors who supplied identical rows, and otherwise said to be unchecked; the method's own tests prove it.

A row of the record is a segment of the path: one optimizer step, or several. Findings name the steps.
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
STANDARD_ERRORS = 4  # by which the sampled values of identical contributors may part
# Values that are products with a contributor's displacement are 0 where it is; differences of losses, nearly.
DISPLACEMENT_METHODS = frozenset({"path", "first_order", "second_order", "counterfactual", "replay"})
LOSS_METHODS = frozenset({"exact", "retraining"})

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
        *_beside(record),
        _null_player(record),
        *_symmetry(record, identical),
        *_additivity(record),
    ]


def _finite(record: RunRecord) -> Finding | None:
    for name in ("loss_before", "loss_after", "values", "house", "gap"):
        bad = ~np.isfinite(getattr(record.steps, name))
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            return Finding("efficiency", False, f"{_where(record, row)}: {name} is not finite", math.inf)
    return None


def _efficiency(record: RunRecord) -> Iterator[Finding]:
    s = record.steps
    row = "step" if (s.length <= 1).all() else "segment"
    parts = s.values.sum(axis=1) + s.house + s.gap
    scale = np.maximum.reduce(
        [np.abs(s.loss_before), np.abs(s.loss_after), np.abs(s.values).sum(axis=1), np.abs(s.house), np.abs(s.gap)]
    )
    yield _within(
        "efficiency", f"every {row}'s improvement is values plus house plus gap", record,
        np.abs(s.loss_before - s.loss_after - parts), ROUNDING * scale,
    )  # fmt: skip
    if record.telescopes:
        yield _within(
            "efficiency", f"every {row} begins at the loss at which the one before ended", record,
            np.abs(s.loss_before[1:] - s.loss_after[:-1]), LOSS_ROUNDING * np.maximum(np.abs(s.loss_before[1:]), 1),
            first=1,
        )  # fmt: skip
    else:
        detail = (
            f"every {row}'s losses are of its own validation batch: the run's improvement is the sum over {row}s "
            "of loss before minus loss after, and no loss is compared with another batch's"
        )
        yield Finding("efficiency", True, detail, 0.0)
    total = record.values.sum(axis=0) + record.house + record.gap
    scale = np.maximum(np.abs(record.improvement), np.abs(record.values).sum(axis=0) + 1e-300)
    yield _whole(
        "efficiency", "the run's improvement is values plus house plus gap",
        np.abs(record.improvement - total), ROUNDING * scale,
    )  # fmt: skip


def _beside(record: RunRecord) -> Iterator[Finding]:
    """The valuations of the same run by other paths: efficiency, and nothing for who supplied nothing."""
    losses = np.maximum(np.abs(record.steps.loss_before), np.abs(record.steps.loss_after)).max(axis=0)
    for name, other in record.beside.items():
        scale = np.maximum(losses, np.abs(other.values).sum(axis=0) + np.abs(other.house) + np.abs(other.gap))
        yield _whole(
            "efficiency", f"by valuation {name!r} too, the run's improvement is values plus house plus gap",
            np.abs(other.missing(record.improvement)), ROUNDING * scale,
        )  # fmt: skip
        allowed = _null_player_rounding(record, other.details.get("method", record.details.get("method")))
        idle = np.abs(other.values) * (record.rows == 0)[:, None]
        if allowed is not None and (idle > allowed).any():
            who = record.contributors[int((idle > allowed).any(axis=1).argmax())]
            detail = f"by valuation {name!r}, {who!r} has supplied no row but has a value"
            yield Finding("null player", False, detail, float(idle.max()))


def _null_player(record: RunRecord) -> Finding:
    method = record.details.get("method")
    allowed = _null_player_rounding(record, method)
    if allowed is None:
        return Finding("null player", True, f"not claimed by method {_name(method)!r}: not checked", 0.0)
    # Until its first row a contributor has neither gradient nor momentum, and so no part in a segment's game.
    before_first_row = np.cumsum(record.steps.rows, axis=0) == 0
    early = np.abs(record.steps.values) * before_first_row[:, :, None]
    worst, excess = float(early.max()), early - allowed
    if excess.max() > 0:
        row, contributor, task = (int(i) for i in np.unravel_index(int(excess.argmax()), early.shape))
        detail = (
            f"{_where(record, row)}: {record.contributors[contributor]!r} has supplied no row yet "
            f"but has a value on task {record.tasks[task]!r}"
        )
        return Finding("null player", False, detail, worst)
    idle = int((record.rows == 0).sum())
    rounding = "" if not worst else ", but for the rounding of losses"
    return Finding(
        "null player", True, f"nobody has a value before their first row{rounding}; {idle} supplied none", worst
    )


def _null_player_rounding(record: RunRecord, method: object) -> _Arrays | None:
    """How far from 0 the value of who supplied nothing may be, nats [tasks]; None where the method does not say."""
    name = _name(method)
    if name is None or name in DISPLACEMENT_METHODS:
        return np.zeros(len(record.tasks))
    if name not in LOSS_METHODS:
        return None
    scale: _Arrays = LOSS_ROUNDING * np.maximum(np.abs(record.steps.loss_before).max(axis=0), 1)
    return scale


def _name(method: object) -> object:
    return method.get("name") if isinstance(method, Mapping) else method


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
            row = int(np.argmax(record.steps.rows[:, a] != record.steps.rows[:, b]))
            detail = (
                f"{_where(record, row)}: {one!r} and {other!r} are said to be identical "
                "but supplied different numbers of rows"
            )
            yield Finding("symmetry", False, detail, 0.0)
            continue
        yield _equal(record, a, b)


def _equal(record: RunRecord, a: int, b: int) -> Finding:
    """Whether two contributors who supplied identical rows have equal values, by what their method can promise."""
    claim = f"{record.contributors[a]!r} and {record.contributors[b]!r}, identical, have equal values"
    method = _name(record.details.get("method"))
    if method == "retraining":
        return Finding("symmetry", True, f"{claim} but for the luck of retraining: not checked", 0.0)
    values, losses = record.steps.values, np.abs(record.steps.loss_before)
    scale = np.abs(values).sum(axis=1) + (losses if method in LOSS_METHODS else 0)
    if record.standard_errors is None:
        return _within("symmetry", claim, record, np.abs(values[:, a] - values[:, b]), LOSS_ROUNDING * scale)
    errors = STANDARD_ERRORS * (record.standard_errors[a] + record.standard_errors[b])
    return _whole(
        "symmetry", f"{claim} within {STANDARD_ERRORS} standard errors",
        np.abs(record.values[a] - record.values[b]), errors + LOSS_ROUNDING * scale.sum(axis=0),
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
        yield _whole(
            "additivity", f"the stated total of {name} is the sum over steps", np.abs(summed - stated), ROUNDING * scale
        )  # fmt: skip
    stated = np.asarray(totals["improvement"], dtype=np.float64)
    steps_improvement = (record.steps.loss_before - record.steps.loss_after).sum(axis=0)
    scale = np.abs(record.steps.loss_before).max(axis=0)
    yield _whole(
        "additivity", "the stated improvement is the sum of the steps' improvements",
        np.abs(stated - steps_improvement), LOSS_ROUNDING * np.maximum(scale, 1) * len(record.steps),
    )  # fmt: skip


def _within(axiom: str, claim: str, record: RunRecord, residual: _Arrays, allowed: _Arrays, first: int = 0) -> Finding:
    """A finding that no residual [segments, …] is larger than what rounding allows; the first is of segment `first`."""
    excess = ~(residual <= allowed + 1e-15)
    if not excess.any():
        return Finding(axiom, True, claim, float(residual.max(initial=0)))
    row = int(np.argwhere(excess)[0][0])
    return _off(axiom, claim, _where(record, row + first), residual[row], residual)


def _whole(axiom: str, claim: str, residual: _Arrays, allowed: _Arrays) -> Finding:
    """A finding that no residual of the whole run is larger than what rounding allows."""
    if (residual <= allowed + 1e-15).all():
        return Finding(axiom, True, claim, float(residual.max(initial=0)))
    return _off(axiom, claim, "the run", residual, residual)


def _off(axiom: str, claim: str, where: str, found: _Arrays, residual: _Arrays) -> Finding:
    detail = f"{where}: not so that {claim}: off by {float(found.max()):.3e} nat"
    return Finding(axiom, False, detail, float(residual.max()))


def _where(record: RunRecord, row: int) -> str:
    """The optimizer steps that a row of the record covers."""
    first, length = int(record.steps.first[row]), int(record.steps.length[row])
    if not length:
        return f"the edit before step {first}"
    return f"step {first}" if length == 1 else f"steps {first} to {first + length - 1}"
