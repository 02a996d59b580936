"""Work for a ledger, done by several processes at once. Imported by the fork server too, which makes them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from sqlmodel import Session

from ledger import journal, registry
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.lines import credit, debit
from ledger.money import Amount
from ledger.policies.terms import Terms
from ledger.settlement import settle

POOL = Terms("pool", Amount.parse("100.00 EUR"))
_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Refused:
    """A request that the ledger refused."""

    error: str


@dataclass
class Process:
    """A process that is working, and where its outcomes arrive."""

    process: Any
    outcomes: Connection

    def result(self) -> list[Any]:
        """What its requests came to, in their order: what each returned, or `Refused`."""
        assert self.outcomes.poll(_PATIENCE_SECONDS), "a process did not finish"
        found = self.outcomes.recv()
        self.process.join(_PATIENCE_SECONDS)
        if isinstance(found, BaseException):
            raise found
        return list(found)


def start(place: str, requests: Sequence[Any], begin: Any = None) -> Process:
    """Let a process of its own do requests on a ledger, one transaction each; it waits for others at `begin`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(place, requests, begin, its), daemon=True)
    process.start()
    its.close()
    return Process(process, mine)


def at_once(place: str, requests: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Let a process for each list of requests do them, all beginning together; what they came to."""
    begin = multiprocessing.get_context("forkserver").Barrier(len(requests))
    processes = [start(place, one, begin) for one in requests]
    return [process.result() for process in processes]


def _work(place: str, requests: Sequence[Any], begin: Any, outcomes: Connection) -> None:
    try:
        found: list[Any] = []
        if begin is not None:
            begin.wait(_PATIENCE_SECONDS)
        for request in requests:
            try:
                found.append(request(place))
            except LedgerError as error:
                found.append(Refused(type(error).__name__))
        outcomes.send(found)
    except BaseException as error:
        outcomes.send(RuntimeError(f"{type(error).__name__}: {error}"))
        raise


# Requests


def create(place: str) -> str:
    Ledger.create(place).close()
    return "made"


def _transact(place: str, work: Any) -> Any:
    with Ledger.open(place) as books:
        return books.transact(work)


def adds(contributor: str) -> Any:
    """Adds a contributor; who there is afterwards."""
    return partial(_transact, work=partial(_add, contributor=contributor))


def posts(key: str, amount: int, account: str = "escrow") -> Any:
    """Pays into an account, or out of it where the amount is negative; the entry, and whether it had been there."""
    return partial(_transact, work=partial(_post, key=key, amount=amount, account=account))


def settles(run: str) -> Any:
    """Settles a run; the entry, and whether it had been there."""
    return partial(_transact, work=partial(_settle, run=run))


def _add(session: Session, contributor: str) -> list[str]:
    registry.add_contributor(session, contributor)
    return [row.id for row in registry.contributors(session)]


def _post(session: Session, key: str, amount: int, account: str) -> tuple[int, bool]:
    lines = [debit("buyer", "nat", amount), credit(account, "nat", amount)]
    posted = journal.post(session, kind="test", subject=account, key=key, payload={}, lines=lines)
    return posted.entry.sequence, posted.repeated


def _settle(session: Session, run: str) -> tuple[int, bool]:
    settled = settle(session, run, POOL)
    assert settled.settlement is not None
    return settled.settlement.entry, settled.repeated
