"""What a settlement is about: one run or several, whole or one task of them.

A run may be settled once as a whole, by itself or together with others, or once for each of its tasks, but never
both: its values would be paid for twice. A settlement that was reversed does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from ledger import valuation as valuations
from ledger.batches import batches
from ledger.canonical import canonical, sha256
from ledger.models import Entry, SettledRun, Settlement

_BATCH = 400  # parameters of one query


@dataclass(frozen=True)
class Scope:
    """Runs by their full identities, in order, and the one task of theirs that is settled, if not all."""

    runs: tuple[str, ...]
    task: str | None = None

    @property
    def subject(self) -> str:
        """What entries call it: the identity of one whole run, else a digest of runs and task."""
        if len(self.runs) == 1 and self.task is None:
            return self.runs[0]
        return f"sha256:{sha256(canonical({'runs': list(self.runs), 'task': self.task}).encode())}"

    def __str__(self) -> str:
        runs = ", ".join(run[:12] for run in self.runs)
        task = f" (task {self.task})" if self.task is not None else ""
        return f"run{'s' if len(self.runs) > 1 else ''} {runs}{task}"


def scope_of(session: Session, runs: str | Sequence[str], task: str | None = None) -> Scope:
    """The scope of booked runs, each named by its identity or the beginning of it. Raises `UnknownRunError`."""
    named = [runs] if isinstance(runs, str) else runs
    return Scope(tuple(sorted({valuations.run(session, name).id for name in named})), task)


def settled_scope(session: Session, settlement: Settlement) -> Scope:
    """What a settlement was about."""
    runs = select(SettledRun.run).where(SettledRun.settlement == settlement.entry).order_by(col(SettledRun.run))
    return Scope(tuple(session.exec(runs)), settlement.task)


def attempts(session: Session, scope: Scope) -> list[Settlement]:
    """The settlements of exactly this scope, in their order; all but the last are reversed."""
    query = select(Settlement).where(Settlement.subject == scope.subject)
    return list(session.exec(query.order_by(col(Settlement.attempt))))


def settlements_of_run(session: Session, run: str) -> list[Settlement]:
    """Every settlement that a run has a part in, in their order, reversed ones included."""
    query = select(Settlement).join(SettledRun, col(SettledRun.settlement) == Settlement.entry)
    return list(session.exec(query.where(SettledRun.run == run).order_by(col(Settlement.entry))))


def rivals(session: Session, scope: Scope, *, before: int | None = None) -> Iterator[tuple[str, Settlement]]:
    """Settlements of other scopes that hold and pay for some of the same values, with the run that both are about.

    `before`: as it was ahead of that entry.
    """
    reversed_ones = select(Entry.reverses).where(col(Entry.reverses).is_not(None))
    if before is not None:
        reversed_ones = reversed_ones.where(Entry.sequence < before)
    for batch in batches(scope.runs, _BATCH):
        query = (
            select(SettledRun.run, Settlement)
            .join(Settlement, col(SettledRun.settlement) == Settlement.entry)
            .where(
                col(SettledRun.run).in_(batch),
                Settlement.subject != scope.subject,
                col(Settlement.entry).not_in(reversed_ones),
            )
        )
        if scope.task is not None:
            query = query.where(col(Settlement.task).is_(None) | (Settlement.task == scope.task))
        if before is not None:
            query = query.where(Settlement.entry < before)
        yield from session.exec(query.order_by(col(Settlement.entry)))
