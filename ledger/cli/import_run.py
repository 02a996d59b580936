"""`ghostledger import-run`: book a record that another training loop made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.options import DEFAULT_LEDGER, AllowPartial, AsJson, LedgerPlace
from ledger.cli.valued import show_booked
from ledger.database import Ledger
from ledger.valuation import book_run

EXAMPLE = "Example: ghostledger import-run runs/monday"


def import_run(
    path: Annotated[Path, typer.Argument(help="The folder that RunRecord.save wrote.")],
    allow_partial: AllowPartial = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Book a run record from your own training loop, after its hashes and the axioms were checked."""
    with Ledger.open(ledger) as books:
        booked = books.transact(lambda session: book_run(session, path, partial=allow_partial))
    show_booked(booked, as_json)
