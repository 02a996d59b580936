"""What runs were worth, in the form that settlements need: read from the valuation entries, a part at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from sqlmodel import Session

from ledger import journal
from ledger.errors import NoValuationError, TermsError
from ledger.models import Run
from ledger.other_valuations import carried, entry_of, own_name_of
from ledger.policies.terms import Worth
from ledger.scope import Scope
from ledger.spool import Table, ordered


@dataclass(frozen=True)
class RunWorth:
    """One run's worth: weighted over its tasks, or of one task by itself, in integers of 1e-12 nat."""

    run: str
    entry: int  # of its own valuation
    valued_by: int  # the entry of the valuation that counts here
    began_at: str
    complete: bool
    stopped: str | None
    worth: Worth
    improvement: int
    datasets: Table[list[str]]  # what the run says of its data, by contributor; nobody without rows


def run_worths(session: Session, scope: Scope, by: str | None = None) -> list[RunWorth]:
    """Each run's worth by its own valuation, or by the one of this name.

    Raises `TermsError` where it has no such task, `OtherValuationError` where it has no such valuation, `KeyError` or
    `ValueError` for damaged rows.
    """
    return [_run_worth(session, run, scope.task, by) for run in scope.runs]


def common_name(session: Session, scope: Scope, by: str | None) -> str | None:
    """The name of the valuation that runs are settled by; None where it is what they call their own."""
    if by is None or any(entry_of(session, run, by) is not None for run in scope.runs):
        return by
    return None if all(own_name_of(session, run) == by for run in scope.runs) else by


def total(worths: Sequence[RunWorth]) -> Worth:
    """All runs together: every contributor of any, by id where there are several runs, with the sum of their values."""
    if len(worths) == 1:
        return worths[0].worth
    every = ordered(chain.from_iterable(one.worth.values.items() for one in worths))
    values = Table((name, sum(value for _, value in own)) for name, own in groupby(every, key=itemgetter(0)))
    return Worth(values, sum(one.worth.house for one in worths), sum(one.worth.gap for one in worths))


def _run_worth(session: Session, identity: str, task: str | None, by: str | None) -> RunWorth:
    run = session.get(Run, identity)
    if run is None:
        raise KeyError(f"run {identity} is not booked")
    head = json.loads(journal.entry(session, run.entry).payload)
    valued_by = _valued_by(session, run, by)
    counts = head if valued_by == run.entry else json.loads(journal.entry(session, valued_by).payload)
    place = None if task is None else _place(counts, identity, task)
    whole = counts if place is None else counts["tasks"][place]
    values, datasets = Table[int](), Table[list[str]]()
    for contributor, payload in journal.part_texts(session, run.entry):
        said = json.loads(payload)
        if valued_by == run.entry:
            values.rows.append((contributor, _value(said, place)))
        if said["datasets"] or said["rows"]:
            datasets.rows.append((contributor, said["datasets"]))
    if valued_by != run.entry:
        values.rows.extend(
            (contributor, _value(json.loads(payload), place))
            for contributor, payload in journal.part_texts(session, valued_by)
        )
    return RunWorth(
        run=identity,
        entry=run.entry,
        valued_by=valued_by,
        began_at=head["began_at"],
        complete=head["complete"],
        stopped=head["stopped"],
        worth=Worth(values, int(whole["house"]), int(whole["gap"])),
        improvement=int(whole["improvement"]),
        datasets=datasets,
    )


def _valued_by(session: Session, run: Run, by: str | None) -> int:
    """The entry of a run's valuation of this name."""
    if by is None:
        return run.entry
    found = entry_of(session, run.id, by)
    if found is not None:
        return found.sequence
    if own_name_of(session, run.id) == by:
        return run.entry
    raise NoValuationError(run.id, by, carried(session, run.id))


def _value(said: dict[str, Any], place: int | None) -> int:
    return int(said["value"] if place is None else said["task_values"][place])


def _place(head: dict[str, Any], run: str, task: str) -> int:
    names = [one["task"] for one in head["tasks"]]
    if task not in names:
        raise TermsError("task", f"run {run[:12]} has no task {task!r}; it has {', '.join(names)}")
    return names.index(task)
