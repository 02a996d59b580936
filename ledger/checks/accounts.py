"""Accounts: each as its kind or its opening says, its running balance right at every posting, not below its floor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from ledger.accounts import OPENING, default_account, last_balance_of
from ledger.checks.fault import Fault, stated_in
from ledger.checks.streams import as_stored, stream
from ledger.errors import LedgerError, StoredAmountError
from ledger.exact_integer import BALANCE_DIGITS, decode
from ledger.models import Account, AccountChange, Entry, Posting

ACCOUNTS, RUNNING, SHUT = "accounts", "account balances", "frozen and closed accounts"
ACCOUNT_CLAIMS = {
    ACCOUNTS: "every account is what its kind says or the entry that opened it, which is the first to touch it",
    RUNNING: "every posting's balance is the one before and its amount, and none is below its account's floor",
    SHUT: "accounts are frozen, freed and closed in turn, none is touched meanwhile, and a closed one is empty",
}
_NEEDED = {"frozen": ("freed", None), "freed": ("frozen",), "closed": ("freed", None)}  # the change before, if any


def account_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the accounts."""
    for row in stream(session, _accounts()):
        yield from _one(row)
    yield from _unopened(session)
    for (name, commodity), rows in groupby(stream(session, _postings()), key=lambda row: tuple(row[:2])):
        yield from _running_faults(name, commodity, rows)
    changes = select(AccountChange).order_by(
        col(AccountChange.account), col(AccountChange.commodity), col(AccountChange.entry)
    )
    for (name, commodity), group in groupby(stream(session, changes), key=lambda row: (row.account, row.commodity)):
        yield from _shut_faults(session, name, commodity, group)


def _accounts() -> Any:
    """Every account, the entry that opened it, and the first that posted to it."""
    own = (Account.name, Account.commodity, Account.kind, Account.contributor, Account.normal_side)
    first = select(Posting.entry).where(Posting.account == Account.name, Posting.commodity == Account.commodity)
    columns: Any = (
        *own,
        as_stored(Account.floor).label("floor"),
        col(Account.entry).label("opened_by"),
        col(Entry.kind).label("opening"),
        sa.case((col(Entry.kind) == OPENING, Entry.payload)).label("payload"),  # others' are long, and one for many
        first.order_by(col(Posting.entry)).limit(1).correlate(Account).scalar_subquery().label("first"),
    )
    query = select(*columns).outerjoin(Entry, col(Entry.sequence) == Account.entry)
    return query.order_by(col(Account.entry), col(Account.name), col(Account.commodity))


def _one(row: Any) -> Iterator[Fault]:
    name = f"account {row.name!r} in {row.commodity}"
    try:
        right = default_account(row.name, row.commodity, row.opened_by)
        floor = None if row.floor is None else decode(row.floor, BALANCE_DIGITS)
    except LedgerError as error:
        yield Fault(ACCOUNTS, f"{name}: {error}")
        return
    wanted = right.floor
    if row.opening == OPENING:
        said = stated_in(row.payload) or {}
        if (said.get("account"), said.get("commodity")) != (row.name, row.commodity):
            yield Fault(ACCOUNTS, f"{name}: entry {row.opened_by} opened another one")
        if row.first is not None and row.first <= row.opened_by:
            yield Fault(ACCOUNTS, f"{name}: entry {row.first} touched it before entry {row.opened_by} opened it")
        try:
            wanted = None if said.get("floor") is None else int(said["floor"])
        except (ValueError, TypeError):
            yield Fault(ACCOUNTS, f"{name}: entry {row.opened_by} states no floor, but {said['floor']!r}")
    elif row.first != row.opened_by:
        first = "no entry" if row.first is None else f"entry {row.first}"
        yield Fault(ACCOUNTS, f"{name}: is said to be opened by entry {row.opened_by}; {first} touched it first")
    for column in ("kind", "contributor", "normal_side"):
        if getattr(row, column) != getattr(right, column):
            yield Fault(ACCOUNTS, f"{name}: {column} is {getattr(row, column)!r}, not {getattr(right, column)!r}")
    if floor != wanted:
        yield Fault(ACCOUNTS, f"{name}: floor is {floor}, not {wanted}")


def _unopened(session: Session) -> Iterator[Fault]:
    """What entries opened, and no row shows."""
    made = sa.exists(select(Account.entry).where(Account.entry == Entry.sequence))
    for sequence, subject in session.exec(select(Entry.sequence, Entry.subject).where(Entry.kind == OPENING, ~made)):
        yield Fault(ACCOUNTS, f"account {subject}: the row that entry {sequence} made is missing")


def _postings() -> Any:
    """Every posting by account, its amounts as stored, with its account's side and floor."""
    columns: Any = (
        *(Posting.account, Posting.commodity, Posting.entry, Posting.line, Posting.side),
        *(as_stored(Posting.amount).label("amount"), as_stored(Posting.balance).label("balance")),
        *(Account.normal_side, as_stored(Account.floor).label("floor")),
    )
    own = (col(Account.name) == Posting.account) & (col(Account.commodity) == Posting.commodity)
    order: Any = (Posting.account, Posting.commodity, Posting.entry, Posting.line)
    return select(*columns).outerjoin(Account, own).order_by(*order)


def _running_faults(name: str, commodity: str, rows: Iterable[Any]) -> Iterator[Fault]:
    balance = 0
    for row in rows:
        where = f"entry {row.entry}, posting {row.line}"
        if row.normal_side is None:
            yield Fault(ACCOUNTS, f"{where}: there is no account {name!r} in {commodity}")
            continue
        try:
            balance += decode(row.amount) if row.side == row.normal_side else -decode(row.amount)
            found = decode(row.balance, BALANCE_DIGITS)
            floor = None if row.floor is None else decode(row.floor, BALANCE_DIGITS)
        except StoredAmountError as error:
            yield Fault(RUNNING, f"{where}: {error}")
            continue
        if found != balance:
            yield Fault(RUNNING, f"{where}: {name} holds {found} {commodity}, not {balance}")
            balance = found  # one fault, not one for every posting after it
        if floor is not None and balance < floor:
            yield Fault(RUNNING, f"{where}: {name} holds {balance} {commodity}, its floor is {floor}")


def _shut_faults(session: Session, name: str, commodity: str, changes: Iterable[AccountChange]) -> Iterator[Fault]:
    what = f"{name} in {commodity}"
    touched = select(Posting.entry).where(Posting.account == name, Posting.commodity == commodity)
    before: str | None = None
    for change, following in pairwise([*((row.change, row.entry) for row in changes), (None, None)]):
        (to, begin), (_, end) = change, following
        if before not in _NEEDED.get(str(to), ()):
            yield Fault(SHUT, f"{what}: entry {begin} says {to}, after it was {before or 'open'}")
        before = to
        if to == "freed" or begin is None:
            continue
        during = touched.where(col(Posting.entry) > begin).order_by(col(Posting.entry))
        for entry in stream(session, during if end is None else during.where(col(Posting.entry) < end)):
            yield Fault(SHUT, f"{what}: entry {entry} touches it, entry {begin} says {to}")
        if to == "closed":
            last = sa.select(as_stored(last_balance_of(name, commodity, begin)))
            yield from _empty_faults(what, begin, session.connection().execute(last).scalar())


def _empty_faults(what: str, closed_by: int, last: Any) -> Iterator[Fault]:
    try:
        held = 0 if last is None else decode(last, BALANCE_DIGITS)
    except StoredAmountError:
        return  # named where the posting is checked
    if held:
        yield Fault(SHUT, f"{what}: holds {held}, and entry {closed_by} closed it")
