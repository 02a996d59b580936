"""`ghostledger account`: what accounts there are and what they hold; floors, freezing, closing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger import accounts, bookkeeping
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.typed import commodity_of, units
from ledger.database import Ledger
from ledger.models import Account, AccountChange
from ledger.money import format_units

account = typer.Typer(help="List accounts, open one with a floor of its own, freeze, free and close them.")

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Such as escrow, or payable:alice.")]
Asset = Annotated[str, typer.Argument(metavar="ASSET", help="Such as EUR; nat for values.")]
Reason = Annotated[str, typer.Option(help="Why: it is kept with the entry.")]


@account.command("list", epilog="Example: ghostledger account list --contributor alice")
def list_(
    contributor: Annotated[str | None, typer.Option(help="Only this contributor's.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """List the accounts that there are, with what each holds on its normal side."""
    with Ledger.open(ledger) as books, books.reading() as session:
        rows = [
            {
                "account": row.name,
                "asset": row.commodity,
                "means": accounts.kind_of(row.name).means,
                "normal_side": row.normal_side,
                "floor": None if row.floor is None else _shown(session, row.floor, row),
                "balance": _shown(session, position.balance or 0, row),
                "state": position.state,
            }
            for row, position in accounts.accounts(session, contributor=contributor)
        ]
    if as_json:
        say_json(rows)
        return
    columns = ["account", "asset", "balance", "normal_side", "floor", "state"]
    cells = [["none" if row[name] is None else row[name] for name in columns] for row in rows]
    table(None, columns, cells, right={"balance", "floor"})


@account.command("open", epilog="Example: ghostledger account open buyer EUR --floor=-5000.00 --reason 'credit line'")
def open_(
    name: Name,
    asset: Asset,
    reason: Reason,
    floor: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The least it may hold, on its normal side; none without.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Open an account before anything touches it, with a floor other than its kind's."""

    def work(session: Session) -> dict[str, Any]:
        least = None if floor is None else units(session, floor, asset)
        made = bookkeeping.open_account(session, name, asset, floor=least, reason=reason)
        return {"account": made.name, "asset": made.commodity, "entry": made.entry}

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    _say(made, "is open", as_json)


@account.command(epilog="Example: ghostledger account freeze payable:alice EUR --reason 'court order 12/26'")
def freeze(
    name: Name, asset: Asset, reason: Reason, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False
) -> None:
    """Let an account take no posting until it is freed."""
    _change(lambda session: bookkeeping.freeze(session, name, asset, reason), "is frozen", ledger, as_json)


@account.command(epilog="Example: ghostledger account free payable:alice EUR --reason 'order lifted'")
def free(
    name: Name, asset: Asset, reason: Reason, ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False
) -> None:
    """Let a frozen account take postings again."""
    _change(lambda session: bookkeeping.free(session, name, asset, reason), "takes postings again", ledger, as_json)


@account.command(epilog="Example: ghostledger account close stake:alice EUR --sweep-to payable:alice --reason 'left'")
def close(
    name: Name,
    asset: Asset,
    reason: Reason,
    sweep_to: Annotated[
        str | None, typer.Option(metavar="ACCOUNT", help="Where what it holds goes; needed where it holds something.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Close an account for good, swept to another."""
    _change(lambda session: bookkeeping.close(session, name, asset, sweep_to, reason), "is closed", ledger, as_json)


def _change(change: Callable[[Session], AccountChange], what: str, ledger: str, as_json: bool) -> None:
    def work(session: Session) -> dict[str, Any]:
        made = change(session)
        return {"account": made.account, "asset": made.commodity, "entry": made.entry}

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    _say(made, what, as_json)


def _say(made: dict[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        say_json(made)
    else:
        say(f"account {made['account']} {what} in {made['asset']}, by entry {made['entry']}")


def _shown(session: Session, amount: int, row: Account) -> str:
    return format_units(amount, commodity_of(session, row.commodity).exponent)
