"""`ghostledger stake`: what contributors deposit against negative values."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

import typer
from sqlmodel import Session

from ledger import stakes
from ledger.accounts import account_name
from ledger.balances import balance
from ledger.cli.options import DEFAULT_LEDGER, AsJson, Exponent, Key, LedgerPlace, Reference
from ledger.cli.output import say, say_json
from ledger.database import Ledger
from ledger.money import Amount, Asset

stake = typer.Typer(help="Deposit and withdraw what contributors stake against negative values.")

Contributor = Annotated[str, typer.Argument(help="Whose stake.")]
Number = Annotated[str, typer.Argument(metavar="AMOUNT")]
Code = Annotated[str, typer.Argument(metavar="ASSET")]


@stake.command(epilog="Example: ghostledger stake deposit alice 500.00 EUR --reference SEPA-4711")
def deposit(
    contributor: Contributor,
    amount: Number,
    asset: Code,
    exponent: Exponent = None,
    reference: Reference = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Add to a contributor's stake. `settle --negative slash` takes negative shares from it, and from nothing else."""
    _move(stakes.DEPOSIT, contributor, amount, asset, exponent, reference, key, ledger, as_json)


@stake.command(epilog="Example: ghostledger stake withdraw alice 500.00 EUR")
def withdraw(
    contributor: Contributor,
    amount: Number,
    asset: Code,
    exponent: Exponent = None,
    reference: Reference = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Give a contributor's stake back, no more than there is."""
    _move(stakes.WITHDRAWAL, contributor, amount, asset, exponent, reference, key, ledger, as_json)


def _move(
    kind: str,
    contributor: str,
    amount: str,
    code: str,
    exponent: int | None,
    reference: str | None,
    key: str | None,
    ledger: str,
    as_json: bool,
) -> None:
    asset = Asset.named(code, exponent)
    move = stakes.deposit if kind == stakes.DEPOSIT else stakes.withdraw
    minor = Amount(asset.parse(amount), asset)
    name = key or f"{kind}:{reference or uuid4()}"

    def work(session: Session) -> dict[str, Any]:
        posted = move(session, contributor, minor, key=name, reference=reference)
        left = balance(session, account_name("stake", contributor), asset.code)
        made = {"entry": posted.entry.sequence, "repeated": posted.repeated}
        return made | {"asset": asset.code, "stake": asset.format(left)}

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        before = ", made before" if made["repeated"] else ""
        say(f"entry {made['entry']}{before}; {contributor} has staked {made['stake']} {asset}")
