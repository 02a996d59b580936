"""`ghostledger estate`: who is paid in a contributor's stead."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import Session

from ledger import estates, registry
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.cli.typed import parts
from ledger.database import Ledger
from ledger.errors import EstateError

estate = typer.Typer(help="Say who is paid in a contributor's stead, and in which parts.")

Contributor = Annotated[str, typer.Argument(help="Whose payouts are shared.")]


@estate.command("set", epilog="Example: ghostledger estate set alice --payee heir-1=2 --payee heir-2=1")
def set_(
    contributor: Contributor,
    payee: Annotated[
        list[str] | None, typer.Option(metavar="ID[=PARTS]", help="A contributor to pay, and how many parts; else 1.")
    ] = None,
    give_back: Annotated[bool, typer.Option("--give-back", help="Pay the contributor again, and nobody else.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why: it is kept with the entry.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Share what a contributor is due from now on among payees, to the last minor unit.

    What was settled before stays where it is. The contributor may be one of the payees.
    """
    if bool(payee) == give_back:
        raise EstateError(contributor, "name each payee with --payee, or give everything back with --give-back")
    payees = parts("--payee", payee or [])

    def work(session: Session) -> dict[str, Any]:
        made = estates.set_estate(session, contributor, payees, reason=reason)
        return {"contributor": contributor, "payees": estates.estate_of(session, contributor), "entry": made.entry}

    with Ledger.open(ledger) as books:
        made = books.transact(work)
    if as_json:
        say_json(made)
    else:
        say(f"{contributor} is paid through {_shown(made['payees']) or contributor}: entry {made['entry']}")


@estate.command(epilog="Example: ghostledger estate show alice")
def show(
    contributor: Annotated[str | None, typer.Argument(help="Whose; all that there are where not given.")] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Show who is paid in a contributor's stead now."""
    with Ledger.open(ledger) as books, books.reading() as session:
        if contributor is None:
            found = estates.estates(session)
        else:
            registry.contributor(session, contributor)
            found = {contributor: estates.estate_of(session, contributor)}
    if as_json:
        say_json([{"contributor": name, "payees": payees} for name, payees in found.items()])
        return
    rows = [
        [name, payee, f"{number:,}"]
        for name, payees in found.items()
        for payee, number in (payees or {name: 1}).items()
    ]
    table(None, ["contributor", "payee", "parts"], rows, right={"parts"})


def _shown(payees: dict[str, int]) -> str:
    return ", ".join(f"{payee} ({number} of {sum(payees.values())})" for payee, number in payees.items())
