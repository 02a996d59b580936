"""`ghostledger pay`: send contributors what is payable, and note whether it arrived."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

import typer
from sqlmodel import Session

from ledger import payouts
from ledger.cli.options import DEFAULT_LEDGER, AsJson, Key, LedgerPlace, Reference
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.errors import HoldError
from ledger.holds import remaining
from ledger.journal import Posted
from ledger.models import Commodity, Hold
from ledger.money import Asset

pay = typer.Typer(help="Send contributors what is payable, and note whether it arrived.")

_Ended = dict[str, Any]  # what came of a confirmation or a failure, and how much is left

Number = Annotated[int, typer.Argument(metavar="PAYOUT", help="The payout's number, as `pay list` shows it.")]
Some = Annotated[str | None, typer.Option(metavar="AMOUNT", help="A part of it; all that is left unless given.")]


@pay.command(epilog="Example: ghostledger pay start alice EUR --reference SEPA-4711")
def start(
    contributor: Annotated[str, typer.Argument(help="Who is paid.")],
    asset: Annotated[str, typer.Argument(metavar="ASSET")],
    amount: Annotated[str | None, typer.Option(metavar="AMOUNT", help="All that is payable unless given.")] = None,
    reference: Reference = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Send what is payable: it is in flight until it is confirmed or fails."""
    name = key or f"{payouts.PURPOSE}:{reference or uuid4()}"

    def work(session: Session) -> dict[str, Any]:
        money = _asset(session, asset)
        minor = None if amount is None else money.parse(amount)
        hold = payouts.start(session, contributor, money.code, minor, key=name, reference=reference)
        return {"payout": hold.id, "entry": hold.entry, "asset": money.code, "amount": money.format(hold.amount)}

    with Ledger.open(ledger) as books:
        sent = books.transact(work)
    if as_json:
        say_json(sent)
    else:
        say(f"payout {sent['payout']} of {sent['amount']} {asset} to {contributor} is in flight, entry {sent['entry']}")


@pay.command(epilog="Example: ghostledger pay confirm 7")
def confirm(
    payout: Number,
    amount: Some = None,
    reference: Reference = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Note that a payout arrived."""
    name = key or f"{payouts.CONFIRMED}:{reference or payout}:{amount or 'the rest'}"

    def work(session: Session) -> _Ended:
        part = _part(session, payout, amount)
        return _ended(session, payout, payouts.confirm(session, payout, part, key=name, reference=reference))

    with Ledger.open(ledger) as books:
        _say_ended(books.transact(work), "confirms", as_json)


@pay.command(epilog="Example: ghostledger pay fail 7 --reason 'account closed'")
def fail(
    payout: Number,
    reason: Annotated[str, typer.Option(help="Why: it is kept with the entry.")],
    amount: Some = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Note that a payout did not arrive: it is payable again."""
    name = key or f"{payouts.FAILED}:{payout}:{amount or 'the rest'}"

    def work(session: Session) -> _Ended:
        part = _part(session, payout, amount)
        return _ended(session, payout, payouts.fail(session, payout, reason, part, key=name))

    with Ledger.open(ledger) as books:
        _say_ended(books.transact(work), "gives back", as_json)


@pay.command("list", epilog="Example: ghostledger pay list --json")
def list_(ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """List the payouts that are in flight."""
    with Ledger.open(ledger) as books, books.reading() as session:
        found = [
            {
                "payout": hold.id,
                "contributor": hold.destination.partition(":")[2],
                "asset": hold.commodity,
                "amount": _asset(session, hold.commodity).format(left),
                "entry": hold.entry,
            }
            for hold, left in payouts.in_flight(session)
        ]
    if as_json:
        say_json(found)
    else:
        columns = ["payout", "contributor", "asset", "amount", "entry"]
        table(None, columns, [[row[name] for name in columns] for row in found], right={"amount"})


def _asset(session: Session, code: str) -> Asset:
    commodity = session.get(Commodity, code)
    return Asset(code, commodity.exponent) if commodity else Asset.named(code)


def _part(session: Session, payout: int, amount: str | None) -> int | None:
    hold = session.get(Hold, payout)
    if amount is None or hold is None:
        return None
    minor = _asset(session, hold.commodity).parse(amount)
    if not minor:
        raise HoldError(payout, "a part of it is more than nothing")
    return minor


def _ended(session: Session, payout: int, posted: Posted) -> _Ended:
    asset = _asset(session, session.get_one(Hold, payout).commodity)
    left = asset.format(remaining(session, [payout])[payout])
    return {"entry": posted.entry.sequence, "repeated": posted.repeated, "payout": payout, "in_flight": left}


def _say_ended(ended: _Ended, does: str, as_json: bool) -> None:
    if as_json:
        say_json(ended)
        return
    again = ", made before" if ended["repeated"] else ""
    say(f"entry {ended['entry']}{again} {does} payout {ended['payout']}; {ended['in_flight']} of it is in flight")
