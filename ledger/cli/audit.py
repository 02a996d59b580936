"""`ghostledger audit`: recompute everything from what is stored, and say what does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ledger.audit import Audit, Check
from ledger.audit import audit as audit_books
from ledger.cli.files import read_checkpoint, read_verifier
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table, warn
from ledger.database import Ledger

EXAMPLE = "Example: ghostledger audit --json"
FAILED = 1  # exit code
CHAIN = "chain"  # the check of a distributor against its chain


def audit(
    expect_head: Annotated[
        str | None, typer.Option(metavar="HASH", help="The hash of an entry that must still be there.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A checkpoint that was kept: what it stands for must be there.")
    ] = None,
    verifier_key: Annotated[
        str | None, typer.Option(metavar="KEY|FILE", help="The verifier key to what must have signed the checkpoint.")
    ] = None,
    rpc: Annotated[
        str | None, typer.Option(metavar="URL", help="A chain's node: distributors on its chain are compared with it.")
    ] = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Recompute everything from what is stored. The exit code is 1 where anything does not hold.

    Keep checkpoints, or the head's hash, elsewhere: who can rewrite the whole ledger can hide it from everything else.
    """
    if verifier_key is not None and checkpoint is None:
        raise typer.BadParameter("a key is of a checkpoint; give that with --checkpoint", param_hint="--verifier-key")
    key = None if verifier_key is None else read_verifier(verifier_key)
    kept = None if checkpoint is None else read_checkpoint(checkpoint, key)[1]
    with Ledger.open(ledger) as books:
        with books.reading() as session:
            found = audit_books(session, expect_head=expect_head, checkpoint=kept)
        if rpc is not None:
            found = found.with_checks(_on_chain(books, rpc))
    if as_json:
        say_json(found.as_json())
    else:
        show_audit(found)
    if not found.ok:
        raise typer.Exit(FAILED)


def _on_chain(books: Ledger, rpc: str) -> Iterator[Check]:
    """How each distributor on the node's chain compares with the ledger, one check a difference."""
    from ledger.chain.distributors import distributors
    from ledger.chain.node import Node
    from ledger.chain.reconcile import reconcile

    node = Node(rpc)
    chain_id = node.chain_id()
    with books.reading() as session:
        known = [(one.id, one.chain_id, one.subject()) for one in distributors(session)]
    for id, on, name in known:
        if on != chain_id:
            warn(f"distributor {name} is not compared: the node is on chain {chain_id}")
            continue
        compared = reconcile(books, node, id)
        for one in compared.differences:
            yield Check(CHAIN, False, f"{one.kind}, {one.what}: {one.ledger} in the ledger, {one.chain} on the chain")
        if compared.ok:
            what = ", ".join(f"{count:,} {what}" for what, count in compared.checked.items())
            yield Check(CHAIN, True, f"{name} and the ledger agree, to block {compared.last}: {what}")


def show_audit(found: Audit) -> None:
    """Print an audit as a table with its verdict."""
    rows = [["holds" if check.ok else "FAILS", check.name, check.detail] for check in found.checks]
    styles = ["green" if check.ok else "bold red" for check in found.checks]
    table(None, ["", "check", "what was found"], rows, styles=styles)
    faults = sum(not check.ok for check in found.checks)
    verdict = "everything holds" if found.ok else f"{faults} of {len(found.checks)} checks FAIL"
    say(f"{verdict}; {found.entries:,} entries, head {found.head}")
