"""`ghostledger chain reconcile`: hold the ledger against the chain, both ways."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ledger.cli.audit import FAILED
from ledger.cli.chain.options import Rpc, Which, node_at
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger

EXAMPLE = "Example: ghostledger chain reconcile --rpc http://127.0.0.1:8545"


def reconcile(
    rpc: Rpc,
    distributor: Which = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Compare every root, claim and total on the chain with the ledger's. The exit code is 1 where any differ.

    Nothing is written: `chain watch` books what is final.
    """
    from ledger.chain import reconcile as reconciling

    with Ledger.open(ledger) as books:
        found = reconciling.reconcile(books, node_at(rpc), distributor)
    if as_json:
        say_json({**asdict(found), "ok": found.ok})
    else:
        columns = ["difference", "of", "ledger", "chain"]
        if found.differences:
            table(None, columns, [[one.kind, one.what, one.ledger, one.chain] for one in found.differences])
        for remark in found.remarks:
            say(remark)
        compared = ", ".join(f"{count:,} {what}" for what, count in found.checked.items())
        verdict = "ledger and chain agree" if found.ok else f"{len(found.differences)} differences"
        say(f"{verdict}: {compared} of {found.distributor}, to block {found.last}")
    if not found.ok:
        raise typer.Exit(FAILED)
