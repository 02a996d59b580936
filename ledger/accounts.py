"""The chart of accounts: what kinds there are, which side is each one's normal one, and how far down it may go.

An account is opened by the first entry that touches it, as its kind says, or by `bookkeeping.open_account` with
a floor of its own. It can be frozen, freed, and closed: what is left on it is then swept to another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, bindparam
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from ledger.batches import batches
from ledger.bulk import add_rows
from ledger.errors import AccountError, AssetError, UnknownContributorError
from ledger.lines import Side
from ledger.models import Account, AccountChange, Commodity, Contributor, Posting

OPENING = "account"  # the kind of entry that opens one with a floor of its own
BATCH = 400  # accounts of one query

Key = tuple[str, str]  # an account's name and its commodity


@dataclass(frozen=True)
class Kind:
    """A kind of account: its normal side, the floor of its balance there, and whether each contributor has one.

    What is `pending` lies there as holds, and nothing else does (`ledger/pending.py`).
    """

    means: str
    normal_side: Side
    owned: bool = False
    floor: int | None = None
    pending: bool = False


def _held(means: str, *, owned: bool = True) -> Kind:
    return Kind(means, "credit", owned=owned, floor=0, pending=True)


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
    "holdback": _held("kept back until a release date"),
    "vesting": _held("earned, and due in instalments"),
    "stopped": _held("not paid while a dispute is open or consent is withdrawn"),
    "disputed": _held("claimed by another contributor"),
    "in_flight": _held("sent to a contributor, and not confirmed"),
    "stake": Kind("deposited by a contributor against negative values", "credit", owned=True, floor=0),
    # Where else a minor unit can be.
    "fee": Kind("the operator's fee", "credit"),
    "withheld": Kind("tax kept back for the authorities", "credit", floor=0),
    "surplus": Kind("above a cap: the buyer's again", "credit", floor=0),
    "house_disputed": _held("of the house's, claimed by a contributor", owned=False),
    "conversion": Kind("one asset given for another, counted in each", "credit"),
}


@dataclass(frozen=True)
class Position:
    """Where an account stands: its balance is on its normal side, and None where nothing has been posted to it."""

    contributor: str | None
    normal_side: str
    floor: int | None
    balance: int | None
    state: str = "open"  # or "frozen", or "closed"


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
    kind, colon, contributor = name.partition(":")
    if colon and not contributor:
        raise AccountError(name, "names no contributor after its colon")
    account_name(kind, contributor or None)
    return kind, contributor or None


def kind_of(name: str) -> Kind:
    """The kind of account that a name states. Raises `AccountError`."""
    return KINDS[split_name(name)[0]]


def account(session: Session, name: str, commodity: str) -> Account:
    """An account. Raises `AccountError` where no entry has opened it."""
    found = session.get(Account, (name, commodity))
    if found is None:
        split_name(name)
        raise AccountError(name, f"has not been opened in {commodity}")
    return found


def accounts(session: Session, *, contributor: str | None = None) -> Iterator[tuple[Account, Position]]:
    """All accounts, or a contributor's, by name and commodity, and where each stands."""
    columns: Any = (Account, *_latest(None))
    query: Any = select(*columns).order_by(col(Account.name), col(Account.commodity))
    if contributor is not None:
        query = query.where(Account.contributor == contributor)
    for row, balance, change in session.exec(query.execution_options(yield_per=1000)):
        yield row, Position(row.contributor, row.normal_side, row.floor, balance, _state(change))


def positions(session: Session, keys: Iterable[Key], *, before: int | None = None) -> dict[Key, Position]:
    """Where each of these accounts stands, of those that have been opened; the balance ahead of the entry `before`."""
    found: dict[Key, Position] = {}
    for batch in batches(dict.fromkeys(keys), BATCH):
        wanted = set(batch)
        names: dict[str, Any] = {"names": sorted({name for name, _ in batch})}
        asked = names if before is None else {**names, "before": before}
        rows = session.connection().execute(_positions(before is not None), asked)
        for name, commodity, owner, side, floor, balance, change in rows:
            if (name, commodity) in wanted:
                found[name, commodity] = Position(owner, side, floor, balance, _state(change))
    return found


@cache
def _positions(ahead: bool) -> Any:
    """The query, made once: it takes longer to make than to run.

    By names alone: PostgreSQL looks for a list of pairs in every account of their commodity.
    """
    columns: Any = (Account.name, Account.commodity, Account.contributor, Account.normal_side, Account.floor)
    named = col(Account.name).in_(bindparam("names", expanding=True))
    return sa_select(*columns, *_latest(bindparam("before", type_=BigInteger) if ahead else None)).where(named)


def open_missing(session: Session, keys: Sequence[Key], entry: int) -> dict[Key, Position]:
    """Open these accounts, as their kinds say, by the entry that first touches them.

    Raises `AccountError`, `AssetError` for a commodity and `UnknownContributorError` for an owner that there is not.
    """
    made = [default_account(name, commodity, entry) for name, commodity in keys]
    assert_known(session, made)
    add_rows(session.connection(), Account, (row.model_dump() for row in made))
    return {(row.name, row.commodity): Position(row.contributor, row.normal_side, row.floor, None) for row in made}


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
    found = positions(session, [(name, commodity)]).get((name, commodity))
    return found.state if found else "open"


def shut(session: Session, keys: Iterable[Key]) -> dict[Key, str]:
    """Those of these accounts that take no posting, "frozen" or "closed"."""
    return {key: found.state for key, found in positions(session, keys).items() if found.state != "open"}


def last_balance_of(account: Any, commodity: Any, before: Any = None) -> Any:
    """A scalar subquery: the balance after an account's last posting, ahead of the entry `before`."""
    query = select(Posting.balance).where(Posting.account == account, Posting.commodity == commodity)
    if before is not None:
        query = query.where(Posting.entry < before)
    # The index of accounts ends with the entry, so that this is one look-up however much was posted.
    return query.order_by(col(Posting.entry).desc()).limit(1).correlate(Account).scalar_subquery()


def _latest(before: Any) -> tuple[Any, Any]:
    """Of an account: its last balance, and its last change whenever that was."""
    own: Any = (col(AccountChange.account) == Account.name, col(AccountChange.commodity) == Account.commodity)
    change = select(AccountChange.change).where(*own).order_by(col(AccountChange.entry).desc()).limit(1)
    balance = last_balance_of(col(Account.name), col(Account.commodity), before)
    return balance, change.correlate(Account).scalar_subquery()


def _state(last_change: str | None) -> str:
    return "open" if last_change in (None, "freed") else str(last_change)


def assert_known(session: Session, rows: Collection[Account]) -> None:
    """Check that accounts' commodities and owners are known. Raises `AssetError` and `UnknownContributorError`."""
    commodities = {row.commodity for row in rows}
    known_ones = set(session.exec(select(Commodity.code).where(col(Commodity.code).in_(commodities))))
    for code in sorted(commodities - known_ones):
        raise AssetError(code, "is no commodity of this ledger yet; it is made by its first use in money")
    owners = dict.fromkeys(row.contributor for row in rows if row.contributor is not None)
    for batch in batches(owners, BATCH):
        known = set(session.exec(select(Contributor.id).where(col(Contributor.id).in_(batch))))
        if missing := [owner for owner in batch if owner not in known]:
            raise UnknownContributorError(missing)
