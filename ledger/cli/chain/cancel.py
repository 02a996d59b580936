"""`ghostledger chain cancel`: give up a publication that is not on the chain."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from ledger.cli.chain.options import (
    DEFAULT_FEE_CAP,
    FeeCap,
    KeystoreFile,
    PasswordFile,
    Rpc,
    SignerAddress,
    SignerUrl,
    Which,
    gwei,
    node_at,
    signer_of,
    teller,
)
from ledger.cli.chain.publish import asset_of, progress, show_outcome
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.database import Ledger

EXAMPLE = "Example: ghostledger chain cancel --reason 'gas is too dear' --keystore publisher.json"


def cancel(
    rpc: Rpc,
    reason: Annotated[str, typer.Option(help="Why: it is kept with the entry.")],
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
    distributor: Which = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Give up waiting then; asked again, it goes on.")
    ] = None,
    fee_cap: FeeCap = DEFAULT_FEE_CAP,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Give up the publication that is open: all of it is payable again.

    What was sent is replaced by a transaction that does nothing. A root that is on the chain is the guardian's to
    revoke.
    """
    from ledger.chain.publisher import Publisher

    cap, node = gwei(fee_cap), node_at(rpc)
    by = signer_of(keystore, password_file, signer, signer_address)
    with Ledger.open(ledger) as books:
        publisher = Publisher(books, node, by, distributor, fee_cap=cap, progress=progress(teller()))
        with books.reading() as session:
            asset = asset_of(session, publisher.distributor.asset)
        outcome = publisher.cancel(reason, timeout=None if timeout is None else timedelta(seconds=timeout))
    show_outcome(outcome, asset, as_json)
