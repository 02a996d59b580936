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
from ledger.errors import TermsError
from ledger.models import Run
from ledger.policies.terms import Worth
from ledger.scope import Scope
from ledger.spool import Table, ordered


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
    datasets: Table[list[str]]  # what the run says of its data, by contributor; nobody without rows


def run_worths(session: Session, scope: Scope) -> list[RunWorth]:
    """Each run's worth. Raises `TermsError` where it has no such task, `KeyError` or `ValueError` for damaged rows."""
    return [_run_worth(session, run, scope.task) for run in scope.runs]


def total(worths: Sequence[RunWorth]) -> Worth:
    """All runs together: every contributor of any, by id where there are several runs, with the sum of their values."""
    if len(worths) == 1:
        return worths[0].worth
    every = ordered(chain.from_iterable(one.worth.values.items() for one in worths))
    values = Table((name, sum(value for _, value in own)) for name, own in groupby(every, key=itemgetter(0)))
    return Worth(values, sum(one.worth.house for one in worths), sum(one.worth.gap for one in worths))


def _run_worth(session: Session, identity: str, task: str | None) -> RunWorth:
    run = session.get(Run, identity)
    if run is None:
        raise KeyError(f"run {identity} is not booked")
    head = json.loads(journal.entry(session, run.entry).payload)
    place = None if task is None else _place(head, identity, task)
    whole = head if place is None else head["tasks"][place]
    values, datasets = Table[int](), Table[list[str]]()
    for contributor, payload in journal.part_texts(session, run.entry):
        said = json.loads(payload)
        values.rows.append((contributor, int(said["value"] if place is None else said["task_values"][place])))
        if said["datasets"] or said["rows"]:
            datasets.rows.append((contributor, said["datasets"]))
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
