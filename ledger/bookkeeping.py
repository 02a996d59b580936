"""What an accountant does besides settling: open, freeze, free and close accounts, exchange assets, and pay out tax."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from fractions import Fraction

from sqlmodel import Session

from ledger import accounts, balances, held, journal, registry
from ledger.errors import AccountError, AmountError
from ledger.lines import credit, debit
from ledger.models import Account, AccountChange
from ledger.money import LARGEST_AMOUNT, Amount, Asset

SWEEP, CONVERSION, REMITTANCE = "sweep", "conversion", "remittance"
REMITTED: Mapping[str, str] = {"withheld": "bank", "fee": "bank", "surplus": "buyer"}  # what goes where
_RATE = re.compile(r"[0-9]{1,60}(?:\.[0-9]{1,60})?")


def freeze(session: Session, name: str, commodity: str, reason: str) -> AccountChange:
    """Let an account take no posting until it is freed. Raises `AccountError`."""
    return _change(session, name, commodity, "frozen", "open", reason)


def free(session: Session, name: str, commodity: str, reason: str) -> AccountChange:
    """Let a frozen account take postings again. Raises `AccountError`."""
    return _change(session, name, commodity, "freed", "frozen", reason)


def close(session: Session, name: str, commodity: str, sweep_to: str | None, reason: str) -> AccountChange:
    """Close an account for good; what it holds goes to another of the same commodity, whichever side it is on.

    Raises `AccountError`: where a hold is open that lies there, comes from there or is meant for it, and where the
    account holds something and `sweep_to` names no other that could take it. Raises what `journal.post` does.
    """
    found = accounts.account(session, name, commodity)
    _assert_state(session, name, commodity, "closed", "open")
    for hold in held.open_holds(session, touching=(name, commodity)):
        raise AccountError(name, f"is where hold {hold} lies, comes from or goes to; release or void it first")
    balance = balances.balance(session, name, commodity)
    if balance:
        if sweep_to is None or sweep_to == name:
            raise AccountError(name, f"holds {balance} {commodity} (smallest units); name an account to sweep it to")
        taken = balance if found.normal_side == "credit" else -balance
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


def open_account(session: Session, name: str, commodity: str, *, floor: int | None, reason: str) -> Account:
    """Open an account with a floor of its own before anything touches it; None means that it has none.

    `floor` counts on the account's normal side, in smallest units. Raises `AccountError` where it is open already,
    `AssetError`, `UnknownContributorError` and `AmountError`.
    """
    if floor is not None and abs(floor) > LARGEST_AMOUNT:
        raise AmountError(str(floor), "is no floor: it is beyond 2**256 - 1 smallest units")
    opened = session.get(Account, (name, commodity))
    if opened is not None:
        raise AccountError(name, f"is open in {commodity} already, since entry {opened.entry}")
    made = accounts.default_account(name, commodity, 0)
    made.floor = floor
    accounts.assert_known(session, [commodity], [] if made.contributor is None else [made.contributor])
    posted = journal.post(
        session,
        kind=accounts.OPENING,
        subject=f"{name} {commodity}",
        key=f"{accounts.OPENING}:{name}:{commodity}",
        payload={"account": name, "commodity": commodity, "floor": None if floor is None else str(floor)},
        reason=reason,
    )
    made.entry = posted.entry.sequence
    session.add(made)
    session.flush()
    return made


def convert(
    session: Session,
    account: str,
    given: Amount,
    asset: Asset,
    rate: str,
    *,
    key: str,
    event_at: date | datetime | str | None = None,
    reason: str | None = None,
    reference: str | None = None,
) -> journal.Posted:
    """Exchange what an account holds for another asset: one entry, a leg in each, the rate noted.

    `rate` is how many whole units of `asset` one whole unit of the given asset comes to, as decimal text. The new
    amount is rounded down. Raises `AmountError`, `AccountError` for an account that cannot be exchanged,
    `AccountLimitError` where the account holds less, and what `journal.post` does.
    """
    received = converted(given, asset, rate)
    if account == CONVERSION:
        raise AccountError(account, "is where both legs meet, and cannot be converted itself")
    for used in (given.asset, asset):
        registry.use_asset(session, used)
    # On the account's own side: what is owed to somebody is owed in the new asset afterwards.
    sign = 1 if accounts.kind_of(account).normal_side == "credit" else -1
    return journal.post(
        session,
        kind=CONVERSION,
        subject=account,
        key=key,
        payload={"account": account, "given": str(given), "received": str(received), "rate": rate},
        lines=[
            debit(account, given.asset.code, sign * given.minor),
            credit(CONVERSION, given.asset.code, sign * given.minor),
            debit(CONVERSION, asset.code, sign * received.minor),
            credit(account, asset.code, sign * received.minor),
        ],
        event_at=event_at,
        reason=reason,
        reference=reference,
    )


def converted(given: Amount, asset: Asset, rate: str) -> Amount:
    """What an amount comes to in another asset, rounded down. Raises `AmountError`."""
    if not _RATE.fullmatch(rate) or not Fraction(rate):
        raise AmountError(rate, "is no rate; give a plain decimal number above zero")
    if asset.code == given.asset.code:
        raise AmountError(rate, f"{asset.code} needs no conversion into itself")
    units = Fraction(given.minor, 10**given.asset.exponent) * Fraction(rate) * 10**asset.exponent
    received = Amount(int(units), asset)
    if not received.minor:
        raise AmountError(str(given), f"comes to nothing in {asset.code} at {rate}")
    return received


def remit(
    session: Session,
    account: str,
    amount: Amount,
    *,
    key: str,
    event_at: date | datetime | str | None = None,
    reason: str | None = None,
    reference: str | None = None,
) -> journal.Posted:
    """Note that money left the books: tax to the authorities, the fee to the operator, a surplus to the buyer.

    Raises `AccountError` for other accounts, `AccountLimitError` where it holds less (`withheld`, `surplus`), and what
    `journal.post` does.
    """
    if account not in REMITTED:
        raise AccountError(account, f"is not paid out by hand; {', '.join(REMITTED)} are")
    if not amount.minor:
        raise AmountError(str(amount), "is nothing; pay out an amount above zero")
    registry.use_asset(session, amount.asset)
    asset = amount.asset.code
    return journal.post(
        session,
        kind=REMITTANCE,
        subject=account,
        key=key,
        payload={"account": account, "amount": str(amount)},
        lines=[debit(account, asset, amount.minor), credit(REMITTED[account], asset, amount.minor)],
        event_at=event_at,
        reason=reason,
        reference=reference,
    )


def _change(session: Session, name: str, commodity: str, change: str, needed: str, reason: str) -> AccountChange:
    accounts.account(session, name, commodity)
    _assert_state(session, name, commodity, change, needed)
    made = AccountChange(account=name, commodity=commodity, change=change, entry=0)
    return registry.register(session, made, reason=reason, repeatable=True)


def _assert_state(session: Session, name: str, commodity: str, change: str, needed: str) -> None:
    now = accounts.state(session, name, commodity)
    if now != needed:
        raise AccountError(name, f"is {now} in {commodity} and cannot be {change}")
