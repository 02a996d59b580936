"""Requests that are killed with SIGKILL at a chosen write, each in a process forked for it.

Imported by the fork server too, so that a fork finds everything loaded.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import event, select
from sqlmodel import Session

from ledger import bookkeeping, disputes, holds, payouts, periods, registry, releases, settlement, stakes, valuation
from ledger.database import Ledger
from ledger.holds import NewHold
from ledger.models import Row
from ledger.money import Amount, Asset
from ledger.policies import Cap, Holdback, Minimum, Withholding
from ledger.policies.terms import Terms
from tests.ledger.records import synthetic_record

BEFORE, NOW = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
WRITES = ("INSERT", "UPDATE", "DELETE")
Request = Callable[[Session, Path], object]


def prepare(books: Ledger, folder: Path) -> None:
    """Books in which everything that the requests ask for can be done."""
    with books.writing() as session:
        for name in ("alice", "bob", "carol"):
            registry.add_contributor(session, name, name)
            registry.register_dataset(
                session, name, [name], name=name, licence="MIT", consent_given_at="2026-01-01", paths=[]
            )
        stakes.deposit(session, "bob", Amount.parse("7.00 EUR"), key="stake")
        for number in range(4):
            values = {"alice": [0.75], "bob": [-0.125 if number else 0.125], "carol": [0.25]}
            synthetic_record(values, number=number).save(folder / f"run-{number}")
        for number in (0, 1, 3):
            valuation.book_run(session, folder / f"run-{number}")
        settlement.settle(session, run(session, 0), Terms("pool", Amount.parse("100.00 EUR"), policies=POLICIES[1:2]))
        settlement.settle(session, run(session, 2), Terms("rate", Amount.parse("100.00 EUR"), "carry"))
        payouts.start(session, "carol", "EUR", 3000, key="sent")
        holds.open_hold(session, FORGOTTEN, key="forgotten")
        disputes.open_dispute(session, "carol", "alice", settled(session), Amount.parse("1.00 EUR"), "0" * 64)


def settled(session: Session) -> int:
    return settlement.settlements(session)[0].entry


def run(session: Session, number: int) -> str:
    return valuation.runs(session)[number].id


FORGOTTEN = NewHold(
    "payout",
    "in_flight:alice",
    "payable:alice",
    "paid:alice",
    "EUR",
    700,
    expires_at="2026-04-01T00:00:00.000000Z",
)
POLICIES = (Cap(basis_points=6000), Holdback(1000, "2026-05-01"), Withholding(500), Minimum(100))
TERMS = Terms("pool", Amount.parse("1000.01 EUR"), "slash", fee_basis_points=250, policies=POLICIES)


def _registration(session: Session, folder: Path) -> None:
    registry.register_dataset(
        session, "alice", ["new", "newer"], name="new", licence="MIT", consent_given_at="2026-01-01", paths=[]
    )


REQUESTS: dict[str, Request] = {
    "registration": _registration,
    "withdrawal of consent": lambda session, folder: registry.withdraw_consent(
        session, registry.datasets(session)[0].fingerprint, "2026-05-01"
    ),
    "booking": lambda session, folder: valuation.book_run(session, folder / "run-2"),
    "settlement": lambda session, folder: settlement.settle(session, run(session, 1), TERMS),
    "reversal": lambda session, folder: settlement.reverse(session, run(session, 2), "wrong"),
    "payout": lambda session, folder: payouts.start(session, "alice", "EUR", key="pay alice"),
    "confirmation": lambda session, folder: payouts.confirm(session, 4, 300, key="confirm"),
    "stake": lambda session, folder: stakes.withdraw(session, "bob", Amount.parse("7.00 EUR"), key="back"),
    "release": lambda session, folder: releases.release(session),
    "expiry": lambda session, folder: holds.expire_due(session),
    "dispute": lambda session, folder: disputes.open_dispute(
        session, "bob", "alice", settled(session), Amount.parse("1.00 EUR"), "0" * 64
    ),
    "resolution": lambda session, folder: disputes.resolve(
        session, disputes.disputes(session)[0].entry, "claimant", "true"
    ),
    "conversion": lambda session, folder: bookkeeping.convert(
        session, "payable:alice", Amount.parse("1.00 EUR"), Asset("USD", 2), "1.08", key="fx"
    ),
    "closing of an account": lambda session, folder: bookkeeping.close(session, "stake:bob", "EUR", "house", "left"),
    "closing of a period": lambda session, folder: periods.close_period(session, "2026-04-01"),
}
# Asked for again, these are refused: what they did is done, and would not be the same a second time.
ONCE = {"registration", "withdrawal of consent", "reversal", "closing of an account"}


def asked(place: str, folder: Path, name: str) -> None:
    """Ask for something as a program would, at a fixed time, so that what it stores does not depend on when."""
    with Ledger.open(place, clock=lambda: NOW) as books:
        books.transact(lambda session: REQUESTS[name](session, folder))


def stored(place: str) -> dict[str, list[Any]]:
    """Every row of every table."""
    with Ledger.open(place) as books, books.reading() as session:
        connection = session.connection()
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in Row.metadata.sorted_tables
        }


@contextmanager
def counting(books: Ledger, reached: Callable[[int], None]) -> Iterator[None]:
    """Call back before each write, before the commit and after it, with its number."""
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1
        reached(counted)

    def execute(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.lstrip().startswith(WRITES):
            count()

    event.listen(books.engine, "before_cursor_execute", execute)
    event.listen(books.engine, "commit", count)
    yield
    count()  # all is done, and only the answer would be lost


def killed(place: str, folder: Path, name: str, deadly: int) -> bool:
    """Whether a process that asked for this was killed at this write; it ends well where it has fewer."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    child = context.Process(target=_asked_and_killed, args=(place, folder, name, deadly))
    child.start()
    child.join(60)
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    return child.exitcode != 0


def _asked_and_killed(place: str, folder: Path, name: str, deadly: int) -> None:
    def reached(number: int) -> None:
        if number == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    with Ledger.open(place, clock=lambda: NOW) as books, counting(books, reached):
        books.transact(lambda session: REQUESTS[name](session, folder))
