"""What an accountant does besides entries: open accounts with a floor, freeze, free and close them, exchange assets."""

from __future__ import annotations

import re
from datetime import date, datetime
from fractions import Fraction

from sqlmodel import Session

from ledger import accounts, balances, journal, registry
from ledger.errors import AccountError, AmountError, AssetError
from ledger.lines import credit, debit
from ledger.models import Account, AccountChange, Commodity
from ledger.money import Amount, Asset

SWEEP, CONVERSION = "sweep", "conversion"
_RATE = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def freeze(session: Session, name: str, commodity: str, reason: str) -> AccountChange:
    """Let an account take no posting until it is freed. Raises `AccountError`."""
    return _change(session, name, commodity, "frozen", "open", reason)


def free(session: Session, name: str, commodity: str, reason: str) -> AccountChange:
    """Let a frozen account take postings again. Raises `AccountError`."""
    return _change(session, name, commodity, "freed", "frozen", reason)


def close(session: Session, name: str, commodity: str, sweep_to: str | None, reason: str) -> AccountChange:
    """Close an account for good; what it holds goes to another of the same commodity, whichever side it is on.

    Raises `AccountError`, also where it holds something and `sweep_to` names no account, and `AccountLimitError`.
    """
    found = accounts.account(session, name, commodity)
    held = balances.balance(session, name, commodity)
    if held:
        if sweep_to is None or sweep_to == name:
            raise AccountError(name, f"holds {held} {commodity} (smallest units); name an account to sweep it to")
        accounts.split_name(sweep_to)
        taken = held if found.normal_side == "credit" else -held
        journal.post(
            session,
            kind=SWEEP,
            subject=f"{name} {commodity}",
            key=f"{SWEEP}:{name}:{commodity}",
            payload={"account": name, "commodity": commodity, "to": sweep_to},
            lines=[debit(name, commodity, taken), credit(sweep_to, commodity, taken)],
            reason=reason,
        )
    return _change(session, name, commodity, "closed", "open", reason)


def convert(
    session: Session,
    account: str,
    given: Amount,
    asset: Asset,
    rate: str,
    *,
    key: str,
    event_at: date | datetime | str | None = None,
    reference: str | None = None,
) -> journal.Posted:
    """Exchange what an account holds for another asset: one entry, a leg in each, the rate noted.

    `rate` is how many whole units of `asset` one whole unit of the given asset comes to, as decimal text. The new
    amount is rounded down. Raises `AmountError`, `AccountLimitError` where the account holds less, and what
    `journal.post` does.
    """
    if not _RATE.fullmatch(rate) or not Fraction(rate):
        raise AmountError(rate, "is no rate; give a plain decimal number above zero")
    if asset.code == given.asset.code:
        raise AmountError(rate, f"{asset.code} needs no conversion into itself")
    units = Fraction(given.minor, 10**given.asset.exponent) * Fraction(rate) * 10**asset.exponent
    received = Amount(int(units), asset)
    if not received.minor:
        raise AmountError(str(given), f"comes to nothing in {asset.code} at {rate}")
    for used in (given.asset, asset):
        registry.use_asset(session, used)
    # On the account's own side: what is owed to somebody is owed in the new asset afterwards.
    sign = 1 if accounts.default_account(account, asset.code, 0).normal_side == "credit" else -1
    return journal.post(
        session,
        kind=CONVERSION,
        subject=account,
        key=key,
        payload={"account": account, "given": str(given), "received": str(received), "rate": rate},
        lines=[
            debit(account, given.asset.code, sign * given.minor),
            credit("conversion", given.asset.code, sign * given.minor),
            debit("conversion", asset.code, sign * received.minor),
            credit(account, asset.code, sign * received.minor),
        ],
        event_at=event_at,
        reference=reference,
    )


def open_account(session: Session, name: str, commodity: str, *, floor: int | None, reason: str) -> Account:
    """Open an account with a floor of its own before anything touches it; None means that it has none.

    `floor` counts on the account's normal side, in smallest units. Raises `AccountError` where it is open already,
    `UnknownContributorError` and `AssetError` for an owner or a commodity that there is not.
    """
    opened = session.get(Account, (name, commodity))
    if opened is not None:
        raise AccountError(name, f"is open in {commodity} already, since entry {opened.entry}")
    made = accounts.default_account(name, commodity, 0)
    if made.contributor is not None:
        registry.contributor(session, made.contributor)
    if session.get(Commodity, commodity) is None:
        raise AssetError(commodity, "is no commodity of this ledger yet; it is made by its first use in money")
    made.floor = floor
    posted = journal.post(
        session,
        kind=accounts.OPENING,
        subject=f"{name} {commodity}",
        key=f"account:{name}:{commodity}",
        payload={"account": name, "commodity": commodity, "floor": None if floor is None else str(floor)},
        reason=reason,
    )
    made.entry = posted.entry.sequence
    session.add(made)
    session.flush()
    return made


def _change(session: Session, name: str, commodity: str, change: str, needed: str, reason: str) -> AccountChange:
    accounts.account(session, name, commodity)
    now = accounts.state(session, name, commodity)
    if now != needed:
        raise AccountError(name, f"is {now} in {commodity} and cannot be {change}")
    made = AccountChange(account=name, commodity=commodity, change=change, entry=0)
    return registry.register(session, made, reason=reason, repeatable=True)
