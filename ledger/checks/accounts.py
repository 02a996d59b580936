"""Accounts: each as its kind or its opening says, its running balance right at every posting, not below its floor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from ledger.accounts import OPENING, default_account
from ledger.checks.fault import Fault, stated
from ledger.errors import LedgerError, StoredAmountError
from ledger.exact_integer import BALANCE_DIGITS, decode
from ledger.models import Account, AccountChange, Entry, Posting

ACCOUNTS, RUNNING, SHUT = "accounts", "account balances", "frozen and closed accounts"
ACCOUNT_CLAIMS = {
    ACCOUNTS: "every account is what its kind says, or the entry that opened it",
    RUNNING: "every posting's balance is the one before and its amount, and none is below its account's floor",
    SHUT: "no posting touches an account while it is frozen or after it is closed, and a closed account is empty",
}


def account_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the accounts."""
    for account in session.exec(select(Account).order_by(col(Account.name), col(Account.commodity))):
        yield from _one(session, account)
    yield from _running_faults(session)
    yield from _shut_faults(session)


def _one(session: Session, account: Account) -> Iterator[Fault]:
    name = f"account {account.name!r} in {account.commodity}"
    try:
        right = default_account(account.name, account.commodity, account.entry)
    except LedgerError as error:
        yield Fault(ACCOUNTS, f"{name}: {error}")
        return
    entry = session.get(Entry, account.entry)
    if entry is not None and entry.kind == OPENING:
        said = stated(entry) or {}
        if (said.get("account"), said.get("commodity")) != (account.name, account.commodity):
            yield Fault(ACCOUNTS, f"{name}: entry {account.entry} opened another one")
        floor = said.get("floor")
        right.floor = None if floor is None else int(floor)
    for column in ("kind", "contributor", "normal_side", "floor"):
        if getattr(account, column) != getattr(right, column):
            yield Fault(ACCOUNTS, f"{name}: {column} is {getattr(account, column)!r}, not {getattr(right, column)!r}")


def _running_faults(session: Session) -> Iterator[Fault]:
    amount, running = (sa.type_coerce(col(column), sa.String) for column in (Posting.amount, Posting.balance))
    columns: Any = (Posting.account, Posting.commodity, Posting.entry, Posting.line, Posting.side, amount, running)
    query = (
        sa.select(*columns, col(Account.normal_side), col(Account.floor))
        .join(Account, (col(Account.name) == Posting.account) & (col(Account.commodity) == Posting.commodity))
        .order_by(*columns[:4])
    )
    current, balance = None, 0
    for row in session.exec(query.execution_options(yield_per=1000)):  # type: ignore[call-overload]
        name, commodity, entry, line, side, amount, stored, normal_side, floor = row
        if (name, commodity) != current:
            current, balance = (name, commodity), 0
        try:
            balance += decode(amount) if side == normal_side else -decode(amount)
            found = decode(stored, BALANCE_DIGITS)
        except StoredAmountError as error:
            yield Fault(RUNNING, f"entry {entry}, posting {line}: {error}")
            continue
        if found != balance:
            yield Fault(RUNNING, f"entry {entry}, posting {line}: {name} holds {found} {commodity}, not {balance}")
        if floor is not None and balance < floor:
            yield Fault(RUNNING, f"entry {entry}, posting {line}: {name} holds {balance}, its floor is {floor}")


def _shut_faults(session: Session) -> Iterator[Fault]:
    shut: dict[tuple[str, str], tuple[str, int]] = {}
    stretches: list[tuple[str, str, str, int, int | None]] = []
    for row in session.exec(select(AccountChange).order_by(col(AccountChange.entry))):
        key = (row.account, row.commodity)
        if key in shut and shut[key][0] != "freed":
            stretches.append((*key, *shut[key], row.entry))
        shut[key] = (row.change, row.entry)
    stretches += [(*key, change, entry, None) for key, (change, entry) in shut.items() if change != "freed"]
    for name, commodity, change, begin, end in stretches:
        touched = select(Posting.entry).where(Posting.account == name, Posting.commodity == commodity)
        during = touched.where(Posting.entry > begin)
        for entry in session.exec(during.where(Posting.entry < end) if end is not None else during):
            yield Fault(SHUT, f"entry {entry} touches {name} in {commodity}, {change} by entry {begin}")
        if change == "closed":
            last = session.exec(
                select(Posting.balance)
                .where(Posting.account == name, Posting.commodity == commodity, Posting.entry < begin)
                .order_by(col(Posting.entry).desc())
            ).first()
            if last:
                yield Fault(SHUT, f"{name} in {commodity} holds {last}, and entry {begin} closed it")
