"""`ghostledger chain deploy`: make a distributor and register it, or register one that is there."""

from __future__ import annotations

from typing import Annotated, Any

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
from ledger.cli.options import DEFAULT_LEDGER, AsJson, Exponent, LedgerPlace
from ledger.cli.output import say, say_json, warn
from ledger.database import Ledger
from ledger.models import Commodity
from ledger.money import Asset

EXAMPLE = (
    "Example: ghostledger chain deploy USDC --exponent 6 --token 0x… --owner 0x… --publisher 0x… --guardian 0x… "
    "--delay 86400 --keystore deployer.json"
)
DAY = 86_400


def deploy(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="What the token is called in the ledger.")],
    rpc: Rpc,
    at: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Register this distributor, which is there already.")
    ] = None,
    first_block: Annotated[int, typer.Option(help="With --at: a block before its first event.")] = 0,
    token: Annotated[str | None, typer.Option(metavar="ADDRESS", help="The ERC-20 token that it pays.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Appoints the others, takes surplus.")] = None,
    publisher: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Submits roots: a hot key.")] = None,
    guardian: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Revokes roots before they activate, and pauses.")
    ] = None,
    delay: Annotated[int, typer.Option(help="Seconds that a root waits, in which it can be revoked.")] = DAY,
    confirmations: Annotated[
        int, typer.Option(min=1, help="How many blocks deep something must be to be booked as final.")
    ] = 12,
    exponent: Exponent = None,
    keystore: KeystoreFile = None,
    password_file: PasswordFile = None,
    signer: SignerUrl = None,
    signer_address: SignerAddress = None,
    fee_cap: FeeCap = DEFAULT_FEE_CAP,
    dry_run: DryRun = False,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Make a distributor of a token on the node's chain, and register it.

    Any key may pay for that; the three roles are other keys, all different. Should it be interrupted after it was sent,
    register it with --at.
    """
    from ledger.chain import deployment
    from ledger.chain.deployment import Roles

    given = _named(token, owner, publisher, guardian)
    if at is not None and (dry_run or any(given.values())):
        extra = [name for name, value in {**given, "--dry-run": dry_run or None}.items() if value]
        raise typer.BadParameter(f"--at registers what is there, as it is: leave out {', '.join(extra)}")
    node, cap = node_at(rpc), gwei(fee_cap)
    with Ledger.open(ledger) as books:
        with books.reading() as session:
            known = session.get(Commodity, asset)
        money = Asset.named(asset, known.exponent if known and exponent is None else exponent)
        if at is None:
            missing = [name for name, value in given.items() if value is None]
            if missing:
                raise typer.BadParameter(f"give {', '.join(missing)}, or --at ADDRESS of one that is there")
            roles = Roles(str(owner), str(publisher), str(guardian))
            by = signer_of(keystore, password_file, signer, signer_address)
            cost = deployment.cost(node, by.address, str(token), roles, delay, fee_cap=cap)
            if dry_run:
                say(
                    f"{by.address} would pay at most {coins(cost.most)} for {cost.gas:,} gas on chain {node.chain_id()}"
                )
                return
            at, first_block = deployment.deploy(
                node,
                by,
                str(token),
                roles,
                delay,
                planned=cost,
                sent=lambda hash: warn(f"sending {hash}; its receipt names the contract, should this be interrupted"),
            )
        made = deployment.register(books, node, at, money, first_block=first_block, confirmations=confirmations)
        shown: dict[str, Any] = dict(made.payload()) | {"entry": made.entry}
    if as_json:
        say_json(shown)
    else:
        say(
            f"distributor {made.id} of {asset}: {shown['address']} on chain {shown['chain_id']}, entry {shown['entry']}"
        )


def _named(*given: str | None) -> dict[str, str | None]:
    return dict(zip(("--token", "--owner", "--publisher", "--guardian"), given, strict=True))
