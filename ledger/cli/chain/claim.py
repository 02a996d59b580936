"""`ghostledger chain claim`: have tokens paid, by proofs from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    coins,
    gwei,
    node_at,
    signer_of,
)
from ledger.cli.options import AsJson
from ledger.cli.output import say, say_json, warn
from ledger.errors import ClaimError

EXAMPLE = "Example: ghostledger chain claim alice.claim.json --rpc http://127.0.0.1:8545 --keystore any-key.json"


def claim(
    proofs: Annotated[list[Path], typer.Argument(metavar="PROOF…", help="What `chain proof` wrote, one or many.")],
    rpc: Rpc,
    to: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Pay the signer's own tokens to another address.")
    ] = None,
    permit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `chain permit` wrote: pay where its signer wants.")
    ] = None,
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
    fee_cap: FeeCap = DEFAULT_FEE_CAP,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Claim for accounts: each is paid what it has earned and not claimed yet, whoever signs and pays for the gas.

    Needs no ledger. Claimed again, nothing is paid twice.
    """
    from ledger.chain import claims
    from ledger.chain.claims import Permit, Proof
    from ledger.chain.contract import DistributorContract
    from ledger.chain.token import Token
    from ledger.money import format_units

    cap, shown = gwei(fee_cap), [Proof.read(path) for path in proofs]
    first = shown[0]
    for path, one in zip(proofs, shown, strict=True):
        if (one.chain_id, one.distributor) != (first.chain_id, first.distributor):
            raise ClaimError(f"{path} is of another distributor than {proofs[0]}: claim from one at a time")
    permitted = None if permit is None else Permit.of(claims.read_json(permit))
    contract = DistributorContract(node_at(rpc), first.chain_id, first.distributor)
    contract.assert_code(first.chain_id)
    token = Token(contract.node, contract.token())
    decimals, symbol = token.decimals(), token.symbol()
    by = signer_of(keystore, password_file, signer, signer_address)
    if dry_run:
        found = claims.estimate(contract, by.address, shown, to=to, permitted=permitted, fee_cap=cap)
        most = found.gas * found.fees.max_fee
        say(
            f"{format_units(found.amount, decimals)} {symbol} would be paid, for at most {coins(most)} of the chain's "
            f"coin ({found.gas:,} gas); nothing was signed"
        )
        return
    made = claims.make_claim(
        contract,
        by,
        shown,
        to=to,
        permitted=permitted,
        fee_cap=cap,
        sent=lambda hash: warn(f"sending {hash}, and waiting until it is mined"),
    )
    if as_json:
        paid = [{"account": p.account, "to": p.to, "amount": format_units(p.amount, decimals)} for p in made.paid]
        refused = [one.account for one in made.refused]
        hash = made.receipt.transaction
        say_json({"transaction": hash, "token": token.address, "symbol": symbol, "paid": paid, "refused": refused})
        return
    for one_paid in made.paid:
        say(f"{format_units(one_paid.amount, decimals)} {symbol} of {one_paid.account} paid to {one_paid.to}")
    for one_refused in made.refused:
        say(f"the token refused to pay {one_refused.account}; it can be claimed again")
    say(f"by {made.receipt.transaction}, {made.receipt.gas_used:,} gas")
