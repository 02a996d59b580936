"""`ghostledger key`: make the key that signs a ledger's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.files import PRIVATE, write_new
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json
from ledger.database import Ledger
from ledger.proofs.note import SignerKey
from ledger.registry import origin

EXAMPLE = "Example: ghostledger key operator.key"


def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes; only you may read it.")],
    name: Annotated[
        str | None, typer.Option(help="The origin of the log that it signs for; that of the ledger unless given.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Make a private key, and print the verifier key to it, which is for everybody: `> operator.pub` keeps it.

    A ledger's checkpoints are signed by keys of its origin's name only.
    """
    if name is None:
        with Ledger.open(ledger) as books, books.reading() as session:
            name = origin(session)
    made = SignerKey.generate(name)
    write_new({file: f"{made.secret_text}\n"}, PRIVATE)
    if as_json:
        say_json({"file": str(file), "name": name, "verifier_key": str(made.verifier)})
    else:
        say(str(made.verifier))
