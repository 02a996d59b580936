"""Valuations of a run beside its own, worked out from records: exact sums, in integers of 1e-12 nat.

One comes with the run, in its record (`RunRecord.beside`), or later from a record of its own, such as retraining's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from sqlmodel import Session

from attribution.record import RunRecord
from attribution.record import Valuation as MeasuredValuation
from ledger.errors import OtherValuationError
from ledger.valuation_entry import Exact, Stated, TaskWorth
from ledger.valuation_names import own_name
from ledger.valuing import dot, improvement_of, piconats, task_worths, value_lazily, weights_of


class OtherWorth(Stated):
    """What one contributor's data was worth by another valuation, in 1e-12 nat."""

    contributor: str
    value: Exact  # weighted over tasks
    standard_error: Exact | None = None  # of a sampled value
    task_values: list[Exact]  # in the order of the tasks, unweighted


class OtherSummary(Stated):
    """What the entry of another valuation says of all contributors together, in integers of 1e-12 nat."""

    run: str
    name: str
    own: str  # what the run's own valuation is called
    record: str  # the SHA-256 of the record that holds it: the run's own, or another's
    method: str | None
    tasks: list[TaskWorth]
    improvement: Exact  # the record's: retrainings have other seeds, and end elsewhere
    house: Exact
    gap: Exact


@dataclass(frozen=True)
class OtherValues:
    """Another valuation, whose contributors are valued anew each time that they are read: they may be many."""

    summary: OtherSummary
    _each: Callable[[], Iterator[OtherWorth]]

    @property
    def contributors(self) -> Iterator[OtherWorth]:
        """What each contributor's data was worth, in the record's order."""
        return self._each()


def values_beside(run: RunRecord, name: str) -> OtherValues:
    """The valuation of this name that a run's record carries beside its own."""
    found, weights = run.beside[name], weights_of(run)

    def each() -> Iterator[OtherWorth]:
        return _contributors(run, found)

    value, task_values = 0, [0] * len(run.tasks)
    for part in each():
        value += part.value
        task_values = [total + one for total, one in zip(task_values, part.task_values, strict=True)]
    improvement, house = improvement_of(run), [Fraction(float(one)) for one in found.house]
    fingerprints, method = _fingerprints(run), found.details.get("method")
    tasks = task_worths(run, fingerprints, improvement, house, task_values)
    whole, houses = piconats(dot(weights, improvement)), piconats(dot(weights, house))
    summary = OtherSummary(
        run=run.identity,
        name=name,
        own=own_name(run.details),
        record=run.identity,
        method=method if isinstance(method, str) else None,
        tasks=tasks,
        improvement=whole,
        house=houses,
        # The gap takes the rest, rounding included, as in the run's own valuation.
        gap=whole - value - houses,
    )
    return OtherValues(summary, each)


def values_elsewhere(session: Session, run: RunRecord, record: RunRecord, name: str) -> OtherValues:
    """Another record's own values as a valuation of this name of a run.

    Raises `OtherValuationError` for a partial record, or one of other contributors, tasks, weights or held-out data,
    and what `book_run` does about its manifest.
    """
    _refuse_another_game(run, record)
    valued = value_lazily(session, record)
    own = valued.summary
    summary = OtherSummary(
        run=run.identity,
        name=name,
        own=own_name(run.details),
        record=record.identity,
        method=own.method,
        tasks=own.tasks,
        improvement=own.improvement,
        house=own.house,
        gap=own.gap,
    )

    def each() -> Iterator[OtherWorth]:
        for part in valued.contributors:
            yield OtherWorth(
                contributor=part.contributor,
                value=part.value,
                standard_error=part.standard_error,
                task_values=part.task_values,
            )

    return OtherValues(summary, each)


def _contributors(run: RunRecord, found: MeasuredValuation) -> Iterator[OtherWorth]:
    weights, sampled = weights_of(run), found.standard_errors
    for c, name in enumerate(run.contributors):
        values = [Fraction(float(value)) for value in found.values[c]]
        errors = None if sampled is None else [Fraction(float(error)) for error in sampled[c]]
        yield OtherWorth(
            contributor=name,
            value=piconats(dot(weights, values)),
            standard_error=None if errors is None else piconats(dot(weights, errors)),
            task_values=[piconats(value) for value in values],
        )


def _refuse_another_game(run: RunRecord, record: RunRecord) -> None:
    """Another valuation is of the same players and the same objective, whatever it says of them."""

    def refuse(reason: str) -> OtherValuationError:
        return OtherValuationError(run.identity, f"record {record.identity[:12]} {reason}")

    if not record.complete:
        raise refuse(f"is partial ({record.stopped or 'stopped early'}); give one that is complete")
    for what, own, other in (
        ("contributors", run.contributors, record.contributors),
        ("tasks", run.tasks, record.tasks),
    ):
        if missing := sorted(set(own) - set(other)):
            raise refuse(f"lacks {missing[0]!r} of the run's {what}")
        if unknown := sorted(set(other) - set(own)):
            raise refuse(f"has {unknown[0]!r}, which is none of the run's {what}")
    weights = dict(zip(run.tasks, run.weights.tolist(), strict=True))
    for task, weight in zip(record.tasks, record.weights.tolist(), strict=True):
        if weight != weights[task]:
            raise refuse(
                f"weighs task {task!r} by {weight!r}, the run by {weights[task]!r}; see RunRecord.with_weights"
            )
    own_data, other_data = _fingerprints(run), _fingerprints(record)
    for task in sorted(own_data.keys() & other_data.keys()):
        if own_data[task] != other_data[task]:
            raise refuse(f"was measured on other held-out records of task {task!r}")


def _fingerprints(record: RunRecord) -> dict[str, str]:
    stated = record.details.get("objective") or {}
    return {task: stated[task] for task in record.tasks if stated.get(task)} if isinstance(stated, dict) else {}
