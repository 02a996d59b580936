"""`ghostledger chain`: settlement on a chain, from the distributor's deployment to the last claim."""

from __future__ import annotations

import typer

from ledger.cli.chain import (
    address,
    cancel,
    claim,
    deploy,
    guardian,
    key,
    operator,
    permit,
    proof,
    publish,
    reconcile,
    status,
    watch,
)

chain = typer.Typer(help="Publish what is payable on a chain, where contributors claim it. Needs ghostledger[chain].")

chain.command("key", epilog=key.EXAMPLE)(key.key)
chain.command("deploy", epilog=deploy.EXAMPLE)(deploy.deploy)
chain.add_typer(operator.operator, name="operator")
chain.add_typer(address.address, name="address")
chain.command("publish", epilog=publish.EXAMPLE)(publish.publish)
chain.command("cancel", epilog=cancel.EXAMPLE)(cancel.cancel)
chain.command("status", epilog=status.EXAMPLE)(status.status)
chain.command("proof", epilog=proof.EXAMPLE)(proof.proof)
chain.command("permit", epilog=permit.EXAMPLE)(permit.permit)
chain.command("claim", epilog=claim.EXAMPLE)(claim.claim)
chain.command("revoke", epilog=guardian.REVOKE_EXAMPLE)(guardian.revoke)
chain.command("pause", epilog=guardian.PAUSE_EXAMPLE)(guardian.pause)
chain.command("watch", epilog=watch.EXAMPLE)(watch.watch)
chain.command("reconcile", epilog=reconcile.EXAMPLE)(reconcile.reconcile)
