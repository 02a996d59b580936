"""`ghostledger convert` and `ghostledger remit`: one asset for another, and tax, fee and surplus paid out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import typer
from sqlmodel import Session

from ledger import bookkeeping
from ledger.cli.options import DEFAULT_LEDGER, AsJson, Exponent, Key, LedgerPlace, Reference
from ledger.cli.output import say, say_json
from ledger.cli.typed import amount
from ledger.database import Ledger
from ledger.journal import Posted
from ledger.money import Asset

CONVERT_EXAMPLE = "Example: ghostledger convert payable:alice '100.00 EUR' USD --rate 1.0832 --reference FX-17"
REMIT_EXAMPLE = "Example: ghostledger remit withheld '120.00 EUR' --reference 'tax office, March'"

Given = Annotated[str, typer.Argument(metavar="AMOUNT", help="With its asset, such as '100.00 EUR'.")]
EventAt = Annotated[str | None, typer.Option(metavar="DATE", help="When it happened, if not now.")]


def convert(
    account: Annotated[str, typer.Argument(help="Whose amount it is, such as payable:alice.")],
    given: Given,
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="What it becomes.")],
    rate: Annotated[str, typer.Option(help="Whole units of the new asset for one of the old, such as 1.0832.")],
    exponent: Exponent = None,
    event_at: EventAt = None,
    reference: Reference = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Exchange what an account holds for another asset: one entry, a leg in each, the rate noted; rounded down."""
    new = Asset.named(asset, exponent)
    name = key or f"{bookkeeping.CONVERSION}:{reference or uuid4()}"

    def post(session: Session) -> tuple[Posted, str]:
        before = amount(session, given)
        posted = bookkeeping.convert(
            session, account, before, new, rate, key=name, event_at=event_at, reference=reference
        )
        return posted, f"{before} are {bookkeeping.converted(before, new, rate)} at {rate}"

    _post(post, ledger, as_json)


def remit(
    account: Annotated[str, typer.Argument(help=" or ".join(bookkeeping.REMITTED))],
    given: Given,
    event_at: EventAt = None,
    reference: Reference = None,
    key: Key = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Note that tax went to the authorities, the fee to the operator, or a surplus back to the buyer."""
    name = key or f"{bookkeeping.REMITTANCE}:{reference or uuid4()}"

    def post(session: Session) -> tuple[Posted, str]:
        paid = amount(session, given)
        posted = bookkeeping.remit(session, account, paid, key=name, event_at=event_at, reference=reference)
        return posted, f"{paid} of {account} are paid out"

    _post(post, ledger, as_json)


def _post(post: Callable[[Session], tuple[Posted, str]], ledger: str, as_json: bool) -> None:
    def work(session: Session) -> dict[str, Any]:
        posted, what = post(session)
        return {"entry": posted.entry.sequence, "repeated": posted.repeated, "what": what}

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        say(f"{made['what']}, by entry {made['entry']}{', made before' if made['repeated'] else ''}")
