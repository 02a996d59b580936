"""The chart of accounts: what kinds there are, which side is each one's normal one, and how far down it may go.

An account is opened by the first entry that touches it, as its kind says, or by `bookkeeping.open_account` with
a floor of its own. It can be frozen, freed, and closed: what is left on it is then swept to another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlmodel import Session, col, select

from ledger.batches import batches
from ledger.bulk import FEW, Values, asked_for, mark
from ledger.errors import AccountError, AssetError, UnknownContributorError
from ledger.exact_integer import BALANCE_DIGITS, decode
from ledger.lines import Side
from ledger.models import Account, AccountChange, Commodity, Posting

OPENING = "account"  # the kind of entry that opens one with a floor of its own
BATCH = 2000  # accounts of one query

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
    "publishing": _held("being published on a chain, and not final there"),
    "in_flight": _held("sent to a contributor, and not confirmed"),
    "stake": Kind("deposited by a contributor against negative values", "credit", owned=True, floor=0),
    # Where else a minor unit can be.
    "fee": Kind("the operator's fee", "credit"),
    "withheld": Kind("tax kept back for the authorities", "credit", floor=0),
    "surplus": Kind("above a cap: the buyer's again", "credit", floor=0),
    "house_disputed": _held("of the house's, claimed by a contributor", owned=False),
    "conversion": Kind("one asset given for another, counted in each", "credit"),
}


class Position(NamedTuple):
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
    by_commodity: dict[str, list[str]] = defaultdict(list)
    for name, commodity in dict.fromkeys(keys):
        by_commodity[commodity].append(name)
    connection = session.connection()
    found: dict[Key, Position] = {}
    for commodity, names in by_commodity.items():
        for batch in batches(names, BATCH):
            if len(batch) > FEW and before is None and _all_are_usual(connection):
                found |= _usual_positions(connection, batch, commodity)
                batch = [name for name in batch if (name, commodity) not in found]
            asked, parameter = asked_for(connection, batch)
            sql = _positions(asked, mark(connection), before is not None)
            given = (parameter, commodity) if before is None else (before, parameter, commodity)
            for name, owner, side, floor, balance, change in connection.exec_driver_sql(sql, given).all():
                held = None if balance is None else decode(balance, BALANCE_DIGITS)
                found[name, commodity] = Position(owner, side, _floor(floor), held, _state(change))
    return found


def _all_are_usual(connection: Connection) -> bool:
    """Whether nobody ever froze or closed an account, or gave one a floor of its own: then its name says it all."""
    unusual = f"SELECT 1 FROM account_changes UNION ALL SELECT 1 FROM entries WHERE kind = '{OPENING}'"
    return connection.exec_driver_sql(f"SELECT EXISTS ({unusual})").scalar_one() in (0, False)


def _usual_positions(connection: Connection, names: Sequence[str], commodity: str) -> dict[Key, Position]:
    """Where those of these accounts stand that something was posted to, and that are what their kinds say."""
    asked, parameter = asked_for(connection, names)
    own = f"postings.account = asked.name AND postings.commodity = {mark(connection)}"
    last = f"(SELECT balance FROM postings WHERE {own} ORDER BY postings.entry DESC LIMIT 1)"
    given = (commodity, parameter)
    found = {}
    for name, balance in connection.exec_driver_sql(f"SELECT asked.name, {last} FROM {asked}", given).all():
        if balance is not None:
            kind, _, owner = name.partition(":")
            held = decode(balance, BALANCE_DIGITS)
            found[name, commodity] = Position(owner or None, KINDS[kind].normal_side, KINDS[kind].floor, held)
    return found


@cache
def _positions(asked: str, mark: str, ahead: bool) -> str:
    """The query; the index of an account's postings ends with the entry, so its balance is one look-up."""
    own = "{0}.account = accounts.name AND {0}.commodity = accounts.commodity"
    earlier = f" AND postings.entry < {mark}" if ahead else ""
    return (
        "SELECT accounts.name, contributor, normal_side, floor, "
        f"(SELECT balance FROM postings WHERE {own.format('postings')}{earlier} ORDER BY postings.entry DESC LIMIT 1), "
        # Nearly always nothing was ever frozen or closed, which is asked once and not of every account.
        "CASE WHEN EXISTS (SELECT 1 FROM account_changes) THEN "
        f"(SELECT change FROM account_changes AS changes WHERE {own.format('changes')} "
        "ORDER BY changes.entry DESC LIMIT 1) END "
        f"FROM {asked} JOIN accounts ON accounts.name = asked.name AND accounts.commodity = {mark}"
    )


@lru_cache(100)  # nearly all accounts have their kind's
def _floor(stored: object) -> int | None:
    return None if stored is None else decode(stored, BALANCE_DIGITS)


def opened(session: Session, keys: Sequence[Key], entry: int) -> tuple[list[Values], dict[Key, Position]]:
    """The rows of accounts as the entry that first touches them opens them, by their kinds, and where they then stand.

    Raises `AccountError`, `AssetError` for a commodity and `UnknownContributorError` for an owner that there is not.
    """
    owners = {key: split_name(key[0]) for key in keys}
    assert_known(session, {code for _, code in keys}, (owner for _, owner in owners.values() if owner is not None))
    rows, found = [], {}
    for (name, commodity), (kind, owner) in owners.items():
        side, floor = KINDS[kind].normal_side, KINDS[kind].floor
        rows.append((name, commodity, kind, owner, side, floor, entry))
        found[name, commodity] = Position(owner, side, floor, None)
    return rows, found


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


def assert_known(session: Session, commodities: Collection[str], owners: Iterable[str]) -> None:
    """Check that what accounts are to be opened in and for is known. Raises `AssetError`, `UnknownContributorError`."""
    known_ones = set(session.exec(select(Commodity.code).where(col(Commodity.code).in_(commodities))))
    for code in sorted(set(commodities) - known_ones):
        raise AssetError(code, "is no commodity of this ledger yet; it is made by its first use in money")
    connection = session.connection()
    for batch in batches(dict.fromkeys(owners), BATCH):
        asked, parameter = asked_for(connection, batch)
        unknown = "NOT EXISTS (SELECT 1 FROM contributors WHERE contributors.id = asked.name)"
        found = connection.exec_driver_sql(f"SELECT asked.name FROM {asked} WHERE {unknown}", (parameter,)).all()
        if found:
            raise UnknownContributorError([name for (name,) in found])
