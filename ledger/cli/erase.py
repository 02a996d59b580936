"""`ghostledger contributor erase`: forget what a contributor is called."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, warn
from ledger.database import Ledger
from ledger.erasure import erase as erase_name

EXAMPLE = "Example: ghostledger contributor erase alice"


def erase(
    id: Annotated[str, typer.Argument(help="Whose name: the contributor's id, which stays.")],
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Erase a contributor's name for good. What is booked stays, and so does every proof.

    The books hold only a salted commitment to it, and the salt is erased too. Backups and exports are not reached.
    """
    with Ledger.open(ledger) as books:
        erased = erase_name(books, id)
    if as_json:
        say_json({"id": id, "erased": erased.found, "forgotten": erased.forgotten})
    else:
        say(f"the name of {id} {'is erased' if erased.found else 'had been erased before'}")
    if not erased.forgotten:
        warn(
            "somebody is reading the ledger, so an older copy is still in its log file; erase again when they are done"
        )
