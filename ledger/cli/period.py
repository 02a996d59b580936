"""`ghostledger period`: close the books through a day."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger import periods
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.models import Period

period = typer.Typer(help="Close the books through a day, and list what is closed.")


@period.command(epilog="Example: ghostledger period close 2026-03-31 --reason 'first quarter'")
def close(
    through: Annotated[str, typer.Argument(metavar="DATE", help="The period's last day, UTC, or its last instant.")],
    reason: Annotated[str | None, typer.Option(help="Kept with the entry.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Seal everything that happened through a day: what is booked late counts from then on as of today."""
    with Ledger.open(ledger) as books:
        made = books.transact(lambda session: _shown(periods.close_period(session, through, reason)))
    if as_json:
        say_json(made)
    else:
        say(f"closed through {made['through']}, by entry {made['entry']}; trial balance {made['trial_balance']}")


@period.command("list", epilog="Example: ghostledger period list --json")
def list_(ledger: LedgerPlace = DEFAULT_LEDGER, as_json: AsJson = False) -> None:
    """List the closed periods and their seals."""

    def work(session: Session) -> list[dict[str, Any]]:
        return [_shown(closed) for closed in periods.periods(session)]

    with Ledger.open(ledger) as books, books.reading() as session:
        found = work(session)
    if as_json:
        say_json(found)
    else:
        columns = ["through", "entry", "trial_balance"]
        table(None, columns, [[row[name] for name in columns] for row in found], right={"entry"})


def _shown(closed: Period) -> dict[str, Any]:
    return {"through": closed.through, "entry": closed.entry, "trial_balance": closed.trial_balance}
