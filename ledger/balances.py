"""What accounts hold: now, as of an event or of a recording, and all together in a trial balance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlmodel import Session, col, select

from ledger import journal
from ledger.canonical import canonical, sha256
from ledger.instants import parse_instant
from ledger.models import Account, Entry, Posting


@dataclass(frozen=True)
class Moment:
    """How far to read the journal: until something happened, was recorded, or took its place in the sequence.

    Instants include themselves; `before` is an entry that is not included any more. Nothing given means everything.
    """

    event_at: str | None = None
    recorded_at: str | None = None
    before: int | None = None

    @classmethod
    def of(
        cls, event_at: date | datetime | str | None = None, recorded_at: date | datetime | str | None = None
    ) -> Moment:
        """From dates and instants as people write them. Raises `InstantError`."""
        return cls(
            None if event_at is None else parse_instant(event_at),
            None if recorded_at is None else parse_instant(recorded_at),
        )


NOW = Moment()


@dataclass(frozen=True)
class Total:
    """One account's line of a trial balance."""

    account: str
    commodity: str
    debit: int
    credit: int
    normal_side: str

    @property
    def balance(self) -> int:
        """What the account holds, on its normal side."""
        difference = self.debit - self.credit
        return difference if self.normal_side == "debit" else -difference


def balance(session: Session, account: str, commodity: str, moment: Moment = NOW) -> int:
    """What an account holds, on its normal side; nothing where it was never opened."""
    if moment == NOW:
        return journal.last_balances(session, [(account, commodity)]).get((account, commodity), 0)
    return balances(session, account, moment).get(commodity, 0)


def balances(session: Session, account: str, moment: Moment = NOW) -> dict[str, int]:
    """What an account of this name holds in each commodity, on its normal side."""
    return {total.commodity: total.balance for total in totals(session, moment, account=account)}


def by_contributor(session: Session, kind: str, commodity: str, moment: Moment = NOW) -> dict[str, int]:
    """What all accounts of a kind hold in a commodity, by their owner."""
    return {
        total.account.partition(":")[2]: total.balance
        for total in totals(session, moment, kind=kind)
        if total.commodity == commodity
    }


def totals(
    session: Session, moment: Moment = NOW, *, account: str | None = None, kind: str | None = None
) -> Iterator[Total]:
    """The trial balance: every account that was ever touched, by name and commodity, read as a stream."""
    query: Any = select(Posting.account, Posting.commodity, Posting.side, Posting.amount, Account.normal_side).join(
        Account, (col(Account.name) == Posting.account) & (col(Account.commodity) == Posting.commodity)
    )
    if account is not None:
        query = query.where(Posting.account == account)
    if kind is not None:
        query = query.where(Account.kind == kind)
    if moment.before is not None:
        query = query.where(Posting.entry < moment.before)
    if moment.event_at is not None or moment.recorded_at is not None:
        query = query.join(Entry, col(Entry.sequence) == Posting.entry)
    if moment.event_at is not None:
        query = query.where(Entry.event_at <= moment.event_at)
    if moment.recorded_at is not None:
        query = query.where(Entry.recorded_at <= moment.recorded_at)
    rows = session.exec(query.order_by(col(Posting.account), col(Posting.commodity)).execution_options(yield_per=5000))
    current: tuple[str, str, str] | None = None
    sums = {"debit": 0, "credit": 0}
    for name, commodity, side, amount, normal_side in rows:
        if current is not None and current[:2] != (name, commodity):
            yield Total(current[0], current[1], sums["debit"], sums["credit"], current[2])
            sums = {"debit": 0, "credit": 0}
        current = (name, commodity, normal_side)
        sums[side] += amount
    if current is not None:
        yield Total(current[0], current[1], sums["debit"], sums["credit"], current[2])


def seal(session: Session, moment: Moment) -> str:
    """SHA-256 of the canonical trial balance, hexadecimal."""
    rows = [
        {
            "account": total.account,
            "commodity": total.commodity,
            "debit": str(total.debit),
            "credit": str(total.credit),
        }
        for total in sorted(totals(session, moment), key=lambda total: (total.account, total.commodity))
    ]
    return sha256(canonical(rows).encode())
