"""What accounts hold: now, as of an event or of a recording, and all together in a trial balance.

Every posting holds its account's balance after it, so what an account held at a place in the journal, or when something
was recorded, is one look-up. What had happened by an instant is added up: late entries happened before earlier ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import collate
from sqlmodel import Session, col, select

from ledger.accounts import last_balance_of
from ledger.canonical import canonical
from ledger.instants import parse_end
from ledger.models import Account, Entry, Posting

_ROWS = 5000  # held in memory at a time


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
        """From dates and instants as people write them; a date includes its whole day, UTC. Raises `InstantError`."""
        return cls(
            None if event_at is None else parse_end(event_at),
            None if recorded_at is None else parse_end(recorded_at),
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
    """What an account holds in a commodity, on its normal side; nothing where it was never opened."""
    return balances(session, account, moment).get(commodity, 0)


def balances(session: Session, account: str, moment: Moment = NOW) -> dict[str, int]:
    """What an account of this name holds in each commodity, on its normal side."""
    return {code: held for _, code, held in _held(session, moment, Account.name == account, account=account)}


def by_contributor(session: Session, kind: str, commodity: str, moment: Moment = NOW) -> dict[str, int]:
    """What all accounts of a kind hold in a commodity, by their owner."""
    which = (col(Account.kind) == kind) & (col(Account.commodity) == commodity)
    found = _held(session, moment, which, kind=kind, commodity=commodity)
    return {name.partition(":")[2]: held for name, _, held in found}


def totals(
    session: Session,
    moment: Moment = NOW,
    *,
    account: str | None = None,
    kind: str | None = None,
    commodity: str | None = None,
) -> Iterator[Total]:
    """The trial balance: every account that was ever touched, by name and commodity, read as a stream."""
    query = _postings(session, with_entries=moment.event_at is not None or moment.recorded_at is not None)
    for column, wanted in ((Posting.account, account), (Account.kind, kind), (Posting.commodity, commodity)):
        if wanted is not None:
            query = query.where(col(column) == wanted)
    for condition in _conditions(moment):
        query = query.where(condition)
    rows = session.exec(query.execution_options(yield_per=_ROWS))
    for (name, code, normal_side), group in groupby(rows, key=lambda row: tuple(row[:3])):
        sums = {"debit": 0, "credit": 0}
        for row in group:
            sums[row.side] += row.amount
        yield Total(name, code, sums["debit"], sums["credit"], normal_side)


def seal(session: Session, moment: Moment) -> str:
    """SHA-256 of the canonical trial balance, hexadecimal.

    That is canonical JSON (RFC 8785): a list, in the order of names and commodities, of
    ``{"account", "commodity", "credit", "debit"}`` with both sums as decimal text.
    """
    return seals(session, [moment])[0]


def seals(session: Session, moments: Sequence[Moment]) -> list[str]:
    """The seal of every moment, in one pass over the postings and in memory that does not grow with them."""
    hashes = [hashlib.sha256(b"[") for _ in moments]
    begun = [False] * len(moments)
    query = _postings(session, with_entries=True).add_columns(col(Posting.entry), Entry.event_at, Entry.recorded_at)
    rows = session.exec(query.execution_options(yield_per=_ROWS))
    for (name, code), group in groupby(rows, key=lambda row: tuple(row[:2])):
        sums: list[dict[str, int]] = [{} for _ in moments]
        for row in group:
            for moment, own in zip(moments, sums, strict=True):
                if _includes(moment, row):
                    own[row.side] = own.get(row.side, 0) + row.amount
        for place, own in enumerate(sums):
            if own:
                debit, credit = str(own.get("debit", 0)), str(own.get("credit", 0))
                line = canonical({"account": name, "commodity": code, "debit": debit, "credit": credit})
                hashes[place].update(b"," * begun[place] + line.encode())
                begun[place] = True
    for hash in hashes:
        hash.update(b"]")
    return [hash.hexdigest() for hash in hashes]


def _held(session: Session, moment: Moment, which: Any, **named: str) -> Iterator[tuple[str, str, int]]:
    """Name, commodity and balance of accounts that were touched by then."""
    if moment.event_at is not None:
        for total in totals(session, moment, **named):
            yield total.account, total.commodity, total.balance
        return
    last = last_balance_of(col(Account.name), col(Account.commodity), _end(session, moment))
    columns: Any = (Account.name, Account.commodity, last)
    query: Any = select(*columns).where(which).order_by(col(Account.name), col(Account.commodity))
    for name, code, held in session.exec(query.execution_options(yield_per=_ROWS)):
        if held is not None:
            yield name, code, held


def _end(session: Session, moment: Moment) -> int | None:
    """The entry ahead of which a moment without `event_at` ends: entries are recorded in their order."""
    if moment.recorded_at is None:
        return moment.before
    newest = select(Entry.sequence).where(Entry.recorded_at <= moment.recorded_at).order_by(col(Entry.sequence).desc())
    end = (session.exec(newest.limit(1)).first() or 0) + 1
    return end if moment.before is None else min(end, moment.before)


def _postings(session: Session, *, with_entries: bool) -> Any:
    """Every posting with its account's normal side, by the bytes of account and commodity."""
    own = (col(Account.name) == Posting.account) & (col(Account.commodity) == Posting.commodity)
    columns: Any = (Posting.account, Posting.commodity, Account.normal_side, Posting.side, Posting.amount)
    order: Any = (col(Posting.account), col(Posting.commodity))
    if session.get_bind().dialect.name == "postgresql":  # whose order is a language's otherwise
        order = tuple(collate(column, "C") for column in order)
    query: Any = select(*columns).join(Account, own).order_by(*order)
    return query.join(Entry, col(Entry.sequence) == Posting.entry) if with_entries else query


def _conditions(moment: Moment) -> Iterator[Any]:
    if moment.before is not None:
        yield col(Posting.entry) < moment.before
    if moment.event_at is not None:
        yield col(Entry.event_at) <= moment.event_at
    if moment.recorded_at is not None:
        yield col(Entry.recorded_at) <= moment.recorded_at


def _includes(moment: Moment, row: Any) -> bool:
    return (
        (moment.before is None or row.entry < moment.before)
        and (moment.event_at is None or row.event_at <= moment.event_at)
        and (moment.recorded_at is None or row.recorded_at <= moment.recorded_at)
    )
