"""`ghostledger chain status`: how distributors stand, by the ledger and, given a node, on the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlmodel import Session

from ledger import balances
from ledger.cli.chain.options import Which, node_at
from ledger.cli.chain.publish import asset_of
from ledger.cli.options import DEFAULT_LEDGER, AsJson, LedgerPlace
from ledger.cli.output import say, say_json, table
from ledger.database import Ledger
from ledger.money import Asset

if TYPE_CHECKING:
    from ledger.models import Distributor

EXAMPLE = "Example: ghostledger chain status --rpc http://127.0.0.1:8545"
KINDS = ("payable", "publishing", "in_flight", "paid")


def status(
    rpc: Annotated[
        str | None,
        typer.Option("--rpc", envvar="GHOSTLEDGER_RPC", metavar="URL", help="The node, to look at the chain too."),
    ] = None,
    distributor: Which = None,
    ledger: LedgerPlace = DEFAULT_LEDGER,
    as_json: AsJson = False,
) -> None:
    """Show each distributor: its roots and how far they are, what is on its way, and who holds its roles."""
    from ledger.chain.distributors import distributor as distributor_of
    from ledger.chain.distributors import distributors

    with Ledger.open(ledger) as books, books.reading() as session:
        found = distributors(session) if distributor is None else [distributor_of(session, distributor)]
        shown = []
        for one in found:
            asset = asset_of(session, one.asset)
            shown.append(_booked(session, one, asset) | ({} if rpc is None else {"chain": _on_chain(rpc, one, asset)}))
    if as_json:
        say_json(shown)
        return
    if not shown:
        say("no distributor is registered; make one with `ghostledger chain deploy`")
    for one_shown in shown:
        roots = one_shown.pop("roots")
        on_chain = one_shown.pop("chain", {})
        rows = [[name.replace("_", " "), value] for name, value in {**one_shown, **on_chain}.items()]
        table(None, ["distributor", str(one_shown["distributor"])], rows[1:])
        columns = ["root", "total", "state", "entry", "transactions"]
        if roots:
            table(None, columns, [[root[name] for name in columns] for root in roots], right=columns[1:2])


def _booked(session: Session, distributor: Distributor, asset: Asset) -> dict[str, Any]:
    from ledger.chain import attempts, publications

    sums = {kind: sum(balances.by_contributor(session, kind, asset.code).values()) for kind in KINDS}
    return {
        "distributor": distributor.id,
        "address": distributor.address,
        "chain_id": distributor.chain_id,
        "token": distributor.token,
        "asset": asset.code,
        "confirmations": distributor.confirmations,
        **{kind: asset.format(amount) for kind, amount in sums.items()},
        "roots": [
            {
                "root": made.root_id,
                "total": asset.format(made.total),
                "state": publications.state(session, made),
                "entry": made.entry,
                "transactions": len(attempts.of_publication(session, made.entry)),
            }
            for made in publications.publications(session, distributor)
        ],
    }


def _on_chain(rpc: str, distributor: Distributor, asset: Asset) -> dict[str, Any]:
    from ledger.chain.contract import DistributorContract
    from ledger.chain.preconditions import assert_same
    from ledger.chain.token import Token

    node = node_at(rpc)
    contract = DistributorContract(node, distributor.chain_id, distributor.address)
    assert_same(contract, distributor)
    amounts = {
        "holds": Token(node, distributor.token).balance_of(distributor.address),
        "promised": contract.promised(),
        "claimed": contract.total_claimed(),
        "surplus": contract.surplus(),
    }
    roles = {"owner": contract.owner(), "publisher": contract.publisher(), "guardian": contract.guardian()}
    paused = {"claims_paused": contract.claims_paused(), "roots_paused": contract.roots_paused()}
    block = node.block()
    return (
        {name: asset.format(amount) for name, amount in amounts.items()}
        | roles
        | paused
        | {
            "last_root": contract.last_id(),
            "block": None if block is None else block.number,
        }
    )
