"""`ghostledger chain permit`: sign that somebody else may have one's tokens paid to an address."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.chain.options import KeystoreFile, PasswordFile, Rpc, SignerAddress, SignerUrl, node_at, signer_of
from ledger.cli.output import write

EXAMPLE = "Example: ghostledger chain permit alice.claim.json --to 0x… --keystore alice-key.json > alice.permit.json"


def permit(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="What `chain proof` wrote.")],
    to: Annotated[str, typer.Option(metavar="ADDRESS", help="Where the tokens are to go.")],
    rpc: Rpc,
    hours: Annotated[int, typer.Option(min=1, help="How long the signature holds.")] = 24,
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
) -> None:
    """Sign (EIP-712) that one's own tokens go to another address, for somebody who then pays for the transaction.

    It holds for one claim by this proof. Needs no ledger.
    """
    from ledger.chain import claims
    from ledger.chain.claims import Proof
    from ledger.chain.contract import DistributorContract

    shown = Proof.read(proof)
    contract = DistributorContract(node_at(rpc), shown.chain_id, shown.distributor)
    contract.assert_code(shown.chain_id)
    by = signer_of(keystore, password_file, signer, signer_address)
    signed = claims.permit(contract, by, shown, to, int(time.time()) + 3600 * hours)
    write(json.dumps(signed.as_json(), indent=2) + "\n")
