"""`ghostledger chain watch`: book what became final on the chain."""

from __future__ import annotations

from ledger.cli.chain.options import Rpc, Which, node_at
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, warn
from ledger.database import Ledger

EXAMPLE = "Example: ghostledger chain watch --rpc http://127.0.0.1:8545"


def watch(
    rpc: Rpc,
    distributor: Which = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Book what became final on the chain since the last time: roots, revocations and claims. Run it now and then."""
    from ledger.chain import watcher

    with Ledger.open(ledger) as books:
        seen = watcher.watch(books, node_at(rpc), distributor)
    counts = {"published": len(seen.published), "activated": len(seen.activated), "revoked": len(seen.revoked)}
    counts["claims"] = seen.claims
    strays = [f"{one.event}: {one.why}" for one in seen.strays]
    if as_json:
        say_json({"first_block": seen.first, "last_block": seen.last, **counts, "strays": strays})
        return
    booked = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing new"
    say(f"blocks {seen.first} to {seen.last}: {booked}")
    for stray in strays:
        warn(stray)
