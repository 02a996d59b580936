"""The held-out text that a run was measured on, from the ledger's objectives."""

from __future__ import annotations

from attribution.record import RunRecord
from attribution.training.sources import TaskSource
from ledger import registry
from ledger.cli.registered_data import task_sources
from ledger.database import Ledger
from ledger.errors import LedgerError


class NoObjectiveError(LedgerError):
    """No objective of this ledger is the one that a run was measured on."""

    def __init__(self, run: str) -> None:
        self.run = run
        super().__init__(f"run {run[:12]} was measured on no objective that is registered here: see objective list")


def run_tasks(books: Ledger, record: RunRecord) -> list[TaskSource]:
    """The run's tasks with their held-out text.

    Raises `NoObjectiveError`, and `ChangedDataError`, `NoFilesError` and `SourceError` for files that are not what was
    registered.
    """
    measured = record.details.get("objective") or {}
    with books.reading() as session:
        for objective in registry.objectives(session):
            rows = registry.objective_tasks(session, objective.id)
            if {row.task: row.fingerprint for row in rows} == measured:
                break
        else:
            raise NoObjectiveError(record.identity)
    return task_sources(books, rows)
