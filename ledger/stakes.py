"""Stakes: what contributors deposit against negative values (`ledger/policies/slash.py`), and take back.

A deposit debits `bank` and credits the contributor's `stake`; a withdrawal is the other way round. Slashing is part
of a settlement.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlmodel import Session

from ledger import journal, registry
from ledger.accounts import account_name
from ledger.errors import AmountError
from ledger.lines import credit, debit
from ledger.money import Amount

DEPOSIT, WITHDRAWAL = "stake deposit", "stake withdrawal"


def deposit(
    session: Session,
    contributor: str,
    amount: Amount,
    *,
    key: str,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
) -> journal.Posted:
    """Add to a contributor's stake. Raises `UnknownContributorError`, `AmountError`, and what `journal.post` does."""
    return _move(session, DEPOSIT, contributor, amount, 1, key, reference, event_at)


def withdraw(
    session: Session,
    contributor: str,
    amount: Amount,
    *,
    key: str,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
) -> journal.Posted:
    """Give a contributor's stake back. Raises `AccountLimitError` for more than there is, and what `deposit` does."""
    return _move(session, WITHDRAWAL, contributor, amount, -1, key, reference, event_at)


def _move(
    session: Session,
    kind: str,
    contributor: str,
    amount: Amount,
    sign: int,
    key: str,
    reference: str | None,
    event_at: date | datetime | str | None,
) -> journal.Posted:
    owner = registry.contributor(session, contributor).id
    if not amount.minor:
        raise AmountError(str(amount), "is nothing: a stake changes by an amount above zero")
    registry.use_asset(session, amount.asset)
    asset, minor = amount.asset.code, sign * amount.minor
    said = {"contributor": owner, "asset": asset, "amount": str(amount.minor)}
    return journal.post(
        session,
        kind=kind,
        subject=owner,
        key=key,
        payload={},
        parts=[(owner, said)],
        lines=[debit("bank", asset, minor), credit(account_name("stake", owner), asset, minor)],
        reference=reference,
        event_at=event_at,
    )
