"""`ghostledger chain proof`: the files by which contributors claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.chain.options import Which
from ledger.cli.files import write_new
from ledger.cli.options import DEFAULT_LEDGER, LedgerPlace
from ledger.cli.output import say, write
from ledger.database import Ledger

EXAMPLE = "Example: ghostledger chain proof alice > alice.claim.json"


def proof(
    who: Annotated[
        str | None, typer.Argument(metavar="[CONTRIBUTOR|ADDRESS]", help="Whose; everybody's goes to --folder.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Writes everybody's, a file for each address, into this new folder.")
    ] = None,
    distributor: Which = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
) -> None:
    """Print what somebody claims by: all that they have earned by the newest root, and the proof of it. No secret."""
    from ledger.chain import publications
    from ledger.chain.distributors import distributor as distributor_of

    if (who is None) == (folder is None):
        raise typer.BadParameter("name a contributor or an address, or give --folder FOLDER for everybody's")
    with Ledger.open(ledger) as books, books.reading() as session:
        found = distributor_of(session, distributor)
        if who is not None:
            write(json.dumps(publications.proof_of(session, who, found), indent=2) + "\n")
            return
        assert folder is not None
        made = publications.claimable(session, found)
        folder.mkdir(parents=True)
        count = 0
        for count, one in enumerate(publications.proofs(session, found, made), start=1):  # noqa: B007
            write_new({folder / f"{one['account']}.json": json.dumps(one, indent=2) + "\n"})
    say(f"{count:,} proofs by root {made.root_id} in {folder}")
