"""`ghostledger chain key`: make a key, in an encrypted file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.chain.options import PasswordFile, password
from ledger.cli.options import AsJson
from ledger.cli.output import say, say_json

EXAMPLE = "Example: ghostledger chain key publisher.json"


def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the keystore goes; it is never overwritten.")],
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key in an encrypted keystore (Web3 secret storage, version 3), and print its address."""
    from ledger.chain.keys import Keystore

    made = Keystore.make(file, password(password_file, file, new=True))
    if as_json:
        say_json({"file": str(file), "address": made.address})
    else:
        say(made.address)
