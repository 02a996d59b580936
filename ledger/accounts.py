"""The chart of accounts: what kinds there are, which side is each one's normal one, and how far down it may go.

An account is opened by the first entry that touches it, as its kind says, or by `bookkeeping.open_account` with
a floor of its own. It can be frozen, freed, and closed: what is left on it is then swept to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import insert, tuple_
from sqlmodel import Session, col, select

from ledger.batches import batches
from ledger.errors import AccountError
from ledger.lines import Line, Side
from ledger.models import Account, AccountChange

OPENING = "account"  # the kind of entry that opens one with a floor of its own
_BATCH = 400  # accounts of one query


@dataclass(frozen=True)
class Kind:
    """A kind of account: its normal side, the floor of its balance there, and whether each contributor has one."""

    means: str
    normal_side: Side
    owned: bool = False
    floor: int | None = None


KINDS: Mapping[str, Kind] = {
    # Valuation, in nats.
    "improvement": Kind("what runs lowered the objective by", "debit"),
    "value": Kind("what a contributor's data was worth", "credit", owned=True),
    # Both of nats and of money.
    "house": Kind("what no contributor caused, and what the operator bears", "credit"),
    "gap": Kind("what the method failed to attribute", "credit"),
    # Money from outside, and back.
    "buyer": Kind("what whoever pays for runs has put in", "debit"),
    "bank": Kind("what contributors paid in themselves, and what was paid to authorities", "debit"),
    "paid": Kind("what has left the books to a contributor", "credit", owned=True, floor=0),
    # Money on its way.
    "escrow": Kind("put in for a settlement and not divided yet", "credit", floor=0),
    "payable": Kind("owed to a contributor now", "credit", owned=True, floor=0),
    "receivable": Kind("owed by a contributor, netted from what they earn next", "debit", owned=True, floor=0),
    "accrued": Kind("earned, but less than the least that is paid out", "credit", owned=True, floor=0),
    "holdback": Kind("kept back until a release date", "credit", owned=True, floor=0),
    "vesting": Kind("earned, and due in instalments", "credit", owned=True, floor=0),
    "stopped": Kind("not paid while a dispute is open or consent is withdrawn", "credit", owned=True, floor=0),
    "disputed": Kind("claimed by another contributor", "credit", owned=True, floor=0),
    "in_flight": Kind("sent to a contributor, and not confirmed", "credit", owned=True, floor=0),
    "stake": Kind("deposited by a contributor against negative values", "credit", owned=True, floor=0),
    # Where else a minor unit can be.
    "fee": Kind("the operator's fee", "credit"),
    "withheld": Kind("tax kept back for the authorities", "credit", floor=0),
    "surplus": Kind("above a cap: the buyer's again", "credit", floor=0),
    "house_disputed": Kind("of the house's, claimed by a contributor", "credit", floor=0),
    "conversion": Kind("one asset given for another, counted in each", "credit"),
}


def account_name(kind: str, contributor: str | None = None) -> str:
    """``payable:alice``, or the kind alone where it has no owner. Raises `AccountError` for a kind that is unknown."""
    found = KINDS.get(kind)
    if found is None:
        raise AccountError(kind, f"is no kind of account; there are {', '.join(KINDS)}")
    if found.owned != (contributor is not None):
        raise AccountError(kind, "needs a contributor" if found.owned else "belongs to no contributor")
    return f"{kind}:{contributor}" if contributor else kind


def split_name(name: str) -> tuple[str, str | None]:
    """The kind and the owner that an account's name states. Raises `AccountError`."""
    kind, _, contributor = name.partition(":")
    account_name(kind, contributor or None)
    return kind, contributor or None


def account(session: Session, name: str, commodity: str) -> Account:
    """An account. Raises `AccountError` where no entry has opened it."""
    found = session.get(Account, (name, commodity))
    if found is None:
        raise AccountError(name, f"has not been opened in {commodity}")
    return found


def accounts_of(session: Session, lines: Iterable[Line], entry: int) -> dict[tuple[str, str], Account]:
    """The accounts that lines touch, by name and commodity; those that are new are opened by this entry."""
    keys = list(dict.fromkeys((line.account, line.commodity) for line in lines))
    found: dict[tuple[str, str], Account] = {}
    for batch in batches(keys, _BATCH):
        named = tuple_(col(Account.name), col(Account.commodity)).in_(batch)
        found |= {(row.name, row.commodity): row for row in session.exec(select(Account).where(named))}
    missing = [default_account(name, commodity, entry) for name, commodity in keys if (name, commodity) not in found]
    if missing:
        session.connection().execute(insert(Account), [row.model_dump() for row in missing])
    return found | {(row.name, row.commodity): row for row in missing}


def default_account(name: str, commodity: str, entry: int) -> Account:
    """The account as its kind says, opened by the entry that first touches it. Raises `AccountError`."""
    kind, contributor = split_name(name)
    of_kind = KINDS[kind]
    return Account(
        name=name,
        commodity=commodity,
        kind=kind,
        contributor=contributor,
        normal_side=of_kind.normal_side,
        floor=of_kind.floor,
        entry=entry,
    )


def state(session: Session, name: str, commodity: str) -> str:
    """Whether an account is "open", "frozen" or "closed"."""
    query = select(AccountChange.change).where(AccountChange.account == name, AccountChange.commodity == commodity)
    last = session.exec(query.order_by(col(AccountChange.entry).desc())).first()
    return "open" if last in (None, "freed") else str(last)


def shut(session: Session) -> dict[tuple[str, str], str]:
    """All accounts that take no posting, "frozen" or "closed", by name and commodity."""
    states: dict[tuple[str, str], str] = {}
    for row in session.exec(select(AccountChange).order_by(col(AccountChange.entry))):
        states[row.account, row.commodity] = row.change
    return {key: change for key, change in states.items() if change != "freed"}
