"""From a run record to its valuation: exact sums, and data and objective as the registry knows them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sqlmodel import Session, select

from attribution.record import RunRecord
from ledger import registry
from ledger.errors import (
    ForeignDataError,
    InstantError,
    ManifestError,
    UnknownContributorError,
    UnknownObjectiveError,
)
from ledger.groups import members_of
from ledger.instants import parse_instant
from ledger.models import Contributor, Dataset
from ledger.money import NAT_EXPONENT
from ledger.valuation_entry import ContributorWorth, Summary, TaskWorth, Valuation

_WEIGHT_ROUNDING = 1e-9


@dataclass(frozen=True)
class Valued:
    """A record's valuation, whose contributors are valued anew each time that they are read: they may be many."""

    summary: Summary
    _record: RunRecord
    _data: Mapping[str, Sequence[str]]

    @property
    def contributors(self) -> Iterator[ContributorWorth]:
        """What each contributor's data was worth, in the record's order."""
        return _contributors(self._record, self._data)


def value_record(session: Session, record: RunRecord) -> Valuation:
    """The record's valuation, checked against the registry. Raises what `book_run` does about its manifest."""
    valued = value_lazily(session, record)
    return Valuation(**dict(valued.summary), contributors=list(valued.contributors))


def value_lazily(session: Session, record: RunRecord) -> Valued:
    """The same, for reading contributors one after the other."""
    run, manifest = record.identity, record.details
    missing = [name for name in record.contributors if session.get(Contributor, name) is None]
    if missing:
        raise UnknownContributorError(missing)
    data = _data(session, record)
    fingerprints = _objective_fingerprints(record)
    method = manifest.get("method")
    # math.fsum rounds once, whatever the order or the machine: the same record gives the same integers everywhere.
    improvement = improvement_of(record)
    house = [Fraction(math.fsum(record.steps.house[:, k])) for k in range(len(record.tasks))]
    weights = weights_of(record)
    value, task_values = 0, [0] * len(record.tasks)
    for part in _contributors(record, data):
        value += part.value
        task_values = [total + one for total, one in zip(task_values, part.task_values, strict=True)]
    tasks = task_worths(record, fingerprints, improvement, house, task_values)
    whole, houses = piconats(dot(weights, improvement)), piconats(dot(weights, house))
    summary = Summary(
        run=run,
        began_at=_instant(record, "began_at", required=True) or "",
        ended_at=_instant(record, "ended_at", required=False),
        complete=record.complete,
        stopped=record.stopped,
        objective=_objective(session, record, fingerprints),
        method=str(method["name"]) if isinstance(method, Mapping) and "name" in method else None,
        tasks=tasks,
        improvement=whole,
        house=houses,
        # The gap takes the rest, rounding included, so that the entry balances exactly.
        gap=whole - value - houses,
    )
    return Valued(summary, record, data)


def task_worths(
    record: RunRecord,
    fingerprints: Mapping[str, str],
    improvement: Sequence[Fraction],
    house: Sequence[Fraction],
    task_values: Sequence[int],
) -> list[TaskWorth]:
    """What each task's figures come to, in 1e-12 nat; the gap takes the rest, rounding included."""
    found = []
    for k, task in enumerate(record.tasks):
        whole, houses = piconats(improvement[k]), piconats(house[k])
        found.append(
            TaskWorth(
                task=task,
                weight=repr(float(record.weights[k])),
                fingerprint=fingerprints.get(task),
                improvement=whole,
                house=houses,
                gap=whole - task_values[k] - houses,
            )
        )
    return found


def _contributors(record: RunRecord, data: Mapping[str, Sequence[str]]) -> Iterator[ContributorWorth]:
    weights, sampled = weights_of(record), record.standard_errors
    for c, name in enumerate(record.contributors):
        values = [Fraction(math.fsum(record.steps.values[:, c, k])) for k in range(len(record.tasks))]
        errors = None if sampled is None else [Fraction(e) for e in sampled[c]]
        yield ContributorWorth(
            contributor=name,
            rows=int(record.rows[c]),
            datasets=list(data.get(name, ())),
            value=piconats(dot(weights, values)),
            standard_error=None if errors is None else piconats(dot(weights, errors)),
            task_values=[piconats(value) for value in values],
        )


def weights_of(record: RunRecord) -> list[Fraction]:
    """The weights of a record's tasks, exactly."""
    return [Fraction(float(weight)) for weight in record.weights]


def improvement_of(record: RunRecord) -> list[Fraction]:
    """The run's improvement of each task: from the first loss to the last, or, unless the record telescopes, summed."""
    before, after = record.steps.loss_before, record.steps.loss_after
    if record.telescopes:
        before, after = before[:1], after[-1:]
    drops = [
        [Fraction(float(b)) - Fraction(float(a)) for b, a in zip(*row, strict=True)]
        for row in zip(before, after, strict=True)
    ]
    return [sum((drop[k] for drop in drops), Fraction(0)) for k in range(len(record.tasks))]


def dot(weights: Sequence[Fraction], values: Sequence[Fraction]) -> Fraction:
    """The weighted sum, exactly."""
    return sum((weight * value for weight, value in zip(weights, values, strict=True)), Fraction(0))


def piconats(nats: Fraction) -> int:
    """Nats in integers of 1e-12 nat, half to even."""
    whole: int = round(nats * 10**NAT_EXPONENT)
    return whole


def _instant(record: RunRecord, key: str, *, required: bool) -> str | None:
    stated = record.details.get(key)
    if stated is None and not required:
        return None
    if not isinstance(stated, str):
        raise ManifestError(record.identity, key, "is missing: consent is judged at the moment when the run began")
    try:
        return parse_instant(stated)
    except InstantError as error:
        raise ManifestError(record.identity, key, f"holds {stated!r}, which is no date and time with offset") from error


def _data(session: Session, record: RunRecord) -> Mapping[str, list[str]]:
    stated = record.details.get("data") or {}
    run = record.identity
    if not isinstance(stated, Mapping):
        raise ManifestError(run, "data", "is not a table of fingerprints by contributor")
    named: set[str] = set()
    for contributor, fingerprints in stated.items():
        if contributor not in record.contributors:
            raise ManifestError(run, "data", f"names {contributor!r}, who is not a contributor of the run")
        if not isinstance(fingerprints, list) or not all(isinstance(item, str) for item in fingerprints):
            raise ManifestError(run, "data", f"gives {contributor!r} something other than a list of fingerprints")
        for fingerprint in fingerprints:
            if fingerprint in named:
                raise ManifestError(run, "data", f"names dataset {fingerprint[:12]} twice")
            named.add(fingerprint)
            found = session.exec(select(Dataset).where(Dataset.fingerprint == fingerprint)).first()
            if found is None or found.contributor not in (contributor, *members_of(session, contributor)):
                raise ForeignDataError(run, contributor, fingerprint, found.contributor if found else None)
    return stated


def _objective_fingerprints(record: RunRecord) -> dict[str, str]:
    stated = record.details.get("objective") or {}
    if not isinstance(stated, Mapping):
        raise ManifestError(record.identity, "objective", "is not a table of fingerprints by task")
    for task, fingerprint in stated.items():
        if task not in record.tasks or not isinstance(fingerprint, str | None):
            raise ManifestError(
                record.identity, "objective", f"gives task {task!r} no fingerprint of a task of the run"
            )
    return {task: fingerprint for task, fingerprint in stated.items() if fingerprint}


def _objective(session: Session, record: RunRecord, fingerprints: Mapping[str, str]) -> str | None:
    """The registered objective with the run's tasks and weights; None where the run states no fingerprints."""
    if not fingerprints:
        return None
    for candidate in sorted(
        registry.objectives(session), key=lambda objective: objective.entry
    ):  # the first made holds
        tasks = registry.objective_tasks(session, candidate.id)
        if {task.task: task.fingerprint for task in tasks} != dict(fingerprints) or len(tasks) != len(record.tasks):
            continue
        weights = registry.task_weights(tasks)
        stated = dict(zip(record.tasks, record.weights, strict=True))
        if all(abs(float(weights[task]) - stated[task]) <= _WEIGHT_ROUNDING for task in weights):
            return candidate.id
    names = "+".join(fingerprints)
    raise UnknownObjectiveError(names, "no registered objective has these tasks, held-out records and weights")
