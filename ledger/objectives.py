"""Objectives: what runs are measured on, one or more tasks of held-out text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from sqlmodel import Session, col, select

from ledger.datasets import Overlap, overlaps_of
from ledger.errors import DuplicateError, EmptyDatasetError, UnknownObjectiveError, WeightError
from ledger.fingerprint import fingerprint_records
from ledger.models import Objective, ObjectiveTask
from ledger.rows import identifier, register, source

_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class Task:
    """One task of an objective to be: its records, and where they were read from."""

    name: str
    records: Iterable[str]
    paths: Sequence[str]
    weight: str = "1"  # decimal, relative to the sum of all tasks' weights
    text_field: str = "text"
    encoding: str = "utf-8"


@dataclass(frozen=True)
class RegisteredObjective:
    """An objective as it was registered, and the datasets whose records occur in its held-out text."""

    objective: Objective
    tasks: list[ObjectiveTask]
    leaks: Mapping[str, list[Overlap]]  # by task; only tasks that share a record with a dataset


def add_objective(session: Session, id: str, tasks: Sequence[Task]) -> RegisteredObjective:
    """Register an objective and its tasks, in order; their records are read once and not kept.

    Raises `IdentifierError`, `DuplicateError`, `WeightError`, `EmptyDatasetError`, `RecordTextError`.
    """
    identifier("objective", id)
    if session.get(Objective, id) is not None:
        raise DuplicateError("objective", id)
    if not tasks:
        raise UnknownObjectiveError(id, "needs at least one task")
    for number, task in enumerate(tasks):
        identifier("task", task.name)
        if task.name in {other.name for other in tasks[:number]}:
            raise DuplicateError("task", task.name)
        _weight(task.name, task.weight)
    objective = register(session, Objective(id=id, task_count=len(tasks), entry=0))
    rows: list[ObjectiveTask] = []
    leaks: dict[str, list[Overlap]] = {}
    for task in tasks:
        found = fingerprint_records(task.records)
        if not found.record_count:
            raise EmptyDatasetError(task.name)
        shared = overlaps_of(session, found)
        if shared:
            leaks[task.name] = shared
        row = ObjectiveTask(
            objective=id,
            task=task.name,
            weight=task.weight,
            fingerprint=found.fingerprint,
            record_count=found.record_count,
            byte_count=found.byte_count,
            source=source(task.paths, task.text_field, task.encoding),
            entry=0,
        )
        rows.append(register(session, row))
    return RegisteredObjective(objective, rows, leaks)


def objective(session: Session, id: str) -> Objective:
    """The objective with this id. Raises `UnknownObjectiveError`."""
    found = session.get(Objective, id)
    if found is None:
        raise UnknownObjectiveError(id)
    return found


def objectives(session: Session) -> list[Objective]:
    """All objectives, by id."""
    return list(session.exec(select(Objective).order_by(col(Objective.id))))


def objective_tasks(session: Session, id: str) -> list[ObjectiveTask]:
    """An objective's tasks in the order in which they were given."""
    query = select(ObjectiveTask).where(ObjectiveTask.objective == id)
    return list(session.exec(query.order_by(col(ObjectiveTask.entry))))


def task_weights(tasks: Sequence[ObjectiveTask]) -> dict[str, Fraction]:
    """The tasks' weights, exact, summing to 1. Raises `WeightError`."""
    weights = {task.task: _weight(task.task, task.weight) for task in tasks}
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items()}


def _weight(task: str, weight: str) -> Fraction:
    if not _DECIMAL.fullmatch(weight) or not Decimal(weight):
        raise WeightError(task, weight)
    return Fraction(weight)
