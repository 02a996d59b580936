"""`ghostledger init`: make an empty ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json
from ledger.database import DEFAULT_TOLERANCE, Ledger
from ledger.registry import origin as origin_of
from ledger.registry import tolerance as tolerance_of

EXAMPLE = "Example: ghostledger init --tolerance 0.005"


def init(
    tolerance: Annotated[
        str, typer.Option(metavar="SHARE", help="The largest |gap| / |improvement| at which a run may be settled.")
    ] = DEFAULT_TOLERANCE,
    origin: Annotated[
        str | None,
        typer.Option(
            help="What the ledger's log is called in checkpoints, such as ledger.example/books; random if not given."
        ),
    ] = None,
    application_role: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="PostgreSQL: a role that may then read the ledger and add to it, no more."),
    ] = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Bring an existing ledger to this program's schema.")
    ] = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Make an empty ledger. An existing one is never overwritten."""
    with (
        Ledger.upgrade(ledger, application_role=application_role)
        if upgrade
        else Ledger.create(ledger, tolerance=tolerance, origin=origin, application_role=application_role)
    ) as books:
        with books.reading() as session:
            kept, called = tolerance_of(session), origin_of(session)
        if as_json:
            say_json({"ledger": books.place, "tolerance": kept, "origin": called})
        else:
            done = "upgraded" if upgrade else "made"
            say(f"{done} {books.place}; runs settle up to a gap of {kept} of the improvement")
