"""What runs were worth, in the form that settlements need: read from the valuation entries, a part at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from ledger import journal
from ledger.errors import TermsError
from ledger.models import Part, Run
from ledger.policies.terms import Worth
from ledger.scope import Scope


@dataclass(frozen=True)
class RunWorth:
    """One run's worth: weighted over its tasks, or of one task by itself, in integers of 1e-12 nat."""

    run: str
    entry: int  # of its valuation
    began_at: str
    complete: bool
    stopped: str | None
    worth: Worth
    improvement: int
    datasets: dict[str, list[str]]  # what the run says of its data, by contributor; nobody without rows


def run_worths(session: Session, scope: Scope) -> list[RunWorth]:
    """Each run's worth. Raises `TermsError` where it has no such task, `KeyError` or `ValueError` for damaged rows."""
    return [_run_worth(session, run, scope.task) for run in scope.runs]


def total(worths: Sequence[RunWorth]) -> Worth:
    """All runs together: every contributor of any, with the sum of their values."""
    values: dict[str, int] = {}
    for one in worths:
        for contributor, value in one.worth.values.items():
            values[contributor] = values.get(contributor, 0) + value
    return Worth(values, sum(one.worth.house for one in worths), sum(one.worth.gap for one in worths))


def _run_worth(session: Session, identity: str, task: str | None) -> RunWorth:
    run = session.get(Run, identity)
    if run is None:
        raise KeyError(f"run {identity} is not booked")
    head = json.loads(journal.entry(session, run.entry).payload)
    place = None if task is None else _place(head, identity, task)
    whole = head if place is None else head["tasks"][place]
    values, datasets = {}, {}
    query = select(Part.contributor, Part.payload).where(Part.entry == run.entry).order_by(col(Part.number))
    for contributor, payload in session.exec(query.execution_options(yield_per=1000)):
        said = json.loads(payload)
        values[contributor] = int(said["value"] if place is None else said["task_values"][place])
        if said["datasets"] or said["rows"]:
            datasets[contributor] = said["datasets"]
    return RunWorth(
        run=identity,
        entry=run.entry,
        began_at=head["began_at"],
        complete=head["complete"],
        stopped=head["stopped"],
        worth=Worth(values, int(whole["house"]), int(whole["gap"])),
        improvement=int(whole["improvement"]),
        datasets=datasets,
    )


def _place(head: dict[str, Any], run: str, task: str) -> int:
    names = [one["task"] for one in head["tasks"]]
    if task not in names:
        raise TermsError("task", f"run {run[:12]} has no task {task!r}; it has {', '.join(names)}")
    return names.index(task)
