"""`ghostledger release`: make payable what settlements held back, once its time has come."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.errors import HoldError
from ledger.models import Commodity
from ledger.money import format_units
from ledger.releases import release as release_due

EXAMPLE = "Example: ghostledger release --due --dry-run"


def release(
    due: Annotated[bool, typer.Option("--due", help="Release all that is due.")] = False,
    at: Annotated[
        str | None, typer.Option(metavar="DATE", help="Due at this moment of the past, and booked as of it; else now.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is due, and book nothing.")] = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Make payable, by one entry, every holdback and instalment whose date has come, and what is stopped no longer.

    Where stopping payments was agreed, nothing is released to whoever has a dispute open or has withdrawn consent.
    """
    if not due:
        raise HoldError(None, "is released by --due, with all others whose time has come")
    with Ledger.open(ledger) as books:
        if dry_run:
            with books.reading() as session:
                entry, found, kept = _release(session, at, dry_run=True)
        else:
            entry, found, kept = books.transact(lambda session: _release(session, at, dry_run=False))
    if as_json:
        say_json({"entry": entry, "dry_run": dry_run, "released": found, "kept": kept})
        return
    columns = ["hold", "purpose", "contributor", "asset", "amount", "release_at"]
    if found:
        table(None, columns, [[row[name] or "" for name in columns] for row in found], right={"amount"})
    for one in kept:
        say(f"hold {one['hold']} is kept: {one['why']}")
    booked = f"released by entry {entry}" if entry else "nothing is booked"
    say(f"{len(found):,} due; {booked}")


def _release(
    session: Session, at: str | None, *, dry_run: bool
) -> tuple[int | None, list[dict[str, Any]], list[dict[str, Any]]]:
    released = release_due(session, at, dry_run=dry_run)
    assets = {hold.commodity for hold, _ in released.holds}
    exponents = {code: session.get_one(Commodity, code).exponent for code in assets}
    found = [
        {
            "hold": hold.id,
            "purpose": hold.purpose,
            "contributor": hold.destination.partition(":")[2],
            "asset": hold.commodity,
            "amount": format_units(left, exponents[hold.commodity]),
            "release_at": hold.release_at,
        }
        for hold, left in released.holds
    ]
    return released.entry, found, [{"hold": hold.id, "why": why} for hold, why in released.kept]
