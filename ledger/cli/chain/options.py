"""What the commands of a chain share: which node, who signs, and how much gas may cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.files import read_text
from ledger.cli.output import warn
from ledger.errors import PasswordError

if TYPE_CHECKING:
    from ledger.chain.keys import Signer
    from ledger.chain.node import Node

GWEI = 9  # decimals of it in wei
DEFAULT_FEE_CAP = "100"

Rpc = Annotated[
    str,
    typer.Option(
        "--rpc",
        envvar="GHOSTLEDGER_RPC",
        metavar="URL",
        help="The chain's node. Take one that you trust: what it says is checked, but only against itself.",
    ),
]
KeystoreFile = Annotated[
    Path | None,
    typer.Option("--keystore", metavar="FILE", help="The encrypted keystore of the key that signs."),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        envvar="GHOSTLEDGER_PASSWORD_FILE",
        metavar="FILE",
        help="A file whose first line is the keystore's password; asked for at the terminal otherwise.",
    ),
]
SignerUrl = Annotated[
    str | None, typer.Option("--signer", metavar="URL", help="A program that signs instead, by JSON-RPC.")
]
SignerAddress = Annotated[
    str | None, typer.Option("--signer-address", metavar="ADDRESS", help="Whose key that program is to sign with.")
]
FeeCap = Annotated[
    str, typer.Option("--fee-cap", metavar="GWEI", help="The most that a transaction may ever pay for a unit of gas.")
]
Which = Annotated[
    str | None,
    typer.Option("--distributor", metavar="NUMBER|ADDRESS", help="Which distributor, where there are several."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done and what it would cost, and stop.")]


def node_at(url: str) -> Node:
    """The node. Raises `MissingLibraryError`, `NodeUrlError`."""
    from ledger.chain.node import Node

    return Node(url)


def signer_of(
    keystore: Path | None, password_file: Path | None, signer: str | None, signer_address: str | None
) -> Signer:
    """Whoever signs. Raises `typer.BadParameter`, `PasswordError`, and what keystores and signers do."""
    from ledger.chain.keys import ExternalSigner, Keystore

    if (keystore is None) == (signer is None):
        raise typer.BadParameter("give the key that signs: either --keystore FILE or --signer URL")
    if keystore is not None:
        return Keystore.open(keystore, password(password_file, keystore))
    if signer is None or signer_address is None:
        raise typer.BadParameter("say whose key it is to sign with", param_hint="--signer-address")
    return ExternalSigner(signer, signer_address)


def password(file: Path | None, keystore: Path, *, new: bool = False) -> str:
    """A keystore's password, from a file or the terminal. Raises `PasswordError`, `ProofFileError`."""
    if file is not None:
        return (read_text(file).splitlines() or [""])[0]
    if not typer.get_text_stream("stdin").isatty():
        raise PasswordError(f"the password of {keystore} is asked for at a terminal; without one, give --password-file")
    return str(typer.prompt(f"password of {keystore}", hide_input=True, confirmation_prompt=new, err=True))


def gwei(text: str) -> int:
    """Wei of a decimal number of gwei. Raises `typer.BadParameter`."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text) or not Decimal(text):
        raise typer.BadParameter(f"{text!r} is no number of gwei above 0, such as 30 or 0.5", param_hint="--fee-cap")
    return int(Decimal(text).scaleb(GWEI))


def coins(wei: int) -> str:
    """Wei as a decimal of the chain's coin."""
    return f"{Decimal(wei).scaleb(-18):f}".rstrip("0").rstrip(".") or "0"


def teller() -> Callable[[str], None]:
    """Something to tell how far a wait is, which says each thing once, on standard error."""
    last = ""

    def tell(line: str) -> None:
        nonlocal last
        if line != last:
            warn(line)
            last = line

    return tell
