"""`ghostledger chain revoke` and `pause`: what the guardian's key is for."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.chain.options import (
    DEFAULT_FEE_CAP,
    DryRun,
    FeeCap,
    KeystoreFile,
    PasswordFile,
    Rpc,
    SignerAddress,
    SignerUrl,
    Which,
    coins,
    gwei,
    node_at,
    signer_of,
)
from ledger.cli.options import DEFAULT_LEDGER, LedgerPlace
from ledger.cli.output import say, warn
from ledger.database import Ledger

if TYPE_CHECKING:
    from ledger.chain.contract import DistributorContract
    from ledger.chain.keys import Signer

REVOKE_EXAMPLE = "Example: ghostledger chain revoke 3 --keystore guardian.json"
PAUSE_EXAMPLE = "Example: ghostledger chain pause claims --keystore guardian.json"


class What(StrEnum):
    """What can be paused."""

    CLAIMS = "claims"
    ROOTS = "roots"


def revoke(
    root: Annotated[list[int], typer.Argument(metavar="ROOT…", min=1, help="The ids of roots, by `chain status`.")],
    rpc: Rpc,
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
    distributor: Which = None,
    fee_cap: FeeCap = DEFAULT_FEE_CAP,
    dry_run: DryRun = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
) -> None:
    """Revoke roots that are not active yet. What they promised is payable again once `chain watch` has booked it."""
    contract = _contract(ledger, rpc, distributor)
    by = signer_of(keystore, password_file, signer, signer_address)
    _send(contract, by, lambda: contract.revoke_roots(root), fee_cap, dry_run)


def pause(
    what: Annotated[What, typer.Argument(help="Claims, or the submission of roots.")],
    rpc: Rpc,
    resume: Annotated[bool, typer.Option("--resume", help="Let them go on.")] = False,
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
    distributor: Which = None,
    fee_cap: FeeCap = DEFAULT_FEE_CAP,
    dry_run: DryRun = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
) -> None:
    """Stop claims, or the submission of roots, or let them go on."""
    contract = _contract(ledger, rpc, distributor)
    by = signer_of(keystore, password_file, signer, signer_address)
    call = contract.pause_claims if what is What.CLAIMS else contract.pause_roots
    _send(contract, by, lambda: call(not resume), fee_cap, dry_run)


def _contract(ledger: str, rpc: str, which: str | None) -> DistributorContract:
    """The contract, which is the one that was registered."""
    from ledger.chain.contract import DistributorContract
    from ledger.chain.distributors import distributor as distributor_of
    from ledger.chain.preconditions import assert_same

    with Ledger.open(ledger) as books, books.reading() as session:
        found = distributor_of(session, which)
    contract = DistributorContract(node_at(rpc), found.chain_id, found.address)
    assert_same(contract, found)
    return contract


def _send(contract: DistributorContract, by: Signer, call: Callable[[], bytes], fee_cap: str, dry_run: bool) -> None:
    from ledger.chain import sending

    data, node = call(), contract.node
    planned = sending.cost(node, by.address, contract.address, data, fee_cap=gwei(fee_cap))
    if dry_run:
        say(f"at most {coins(planned.most)} of the chain's coin for {planned.gas:,} gas; nothing was signed")
        return
    receipt = sending.send(
        node,
        by,
        contract.chain_id,
        contract.address,
        data,
        planned=planned,
        sent=lambda hash: warn(f"sending {hash}"),
    )
    say(f"done by {receipt.transaction} in block {receipt.block_number}")
