"""The demo's settlement on a chain: a distributor, a root, and three claims in the three ways that there are.

The chain is one of this process alone, and its money is worth nothing. Whatever chain it is, contributors claim the
same way, by the commands of `ghostledger chain`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.table import Table
from sqlmodel import Session

from ledger import balances
from ledger.chain import claims, deployment, publications, sending, token
from ledger.chain.addresses import set_address, to_sign
from ledger.chain.claims import Made, Proof
from ledger.chain.contract import DistributorContract
from ledger.chain.deployment import Roles
from ledger.chain.keys import Keystore, Signer
from ledger.chain.node import Node
from ledger.chain.publisher import Patience, Publisher
from ledger.chain.reconcile import Reconciliation, reconcile
from ledger.chain.token import Token
from ledger.chain.watcher import watch
from ledger.database import Ledger
from ledger.models import Distributor
from ledger.money import Asset

ASSET = Asset.named("DUSD", 6)  # dollars of the demonstration
FEE_CAP = 10**12  # wei per gas
DELAY, CONFIRMATIONS = 3600, 3
ROLES = ("owner", "publisher", "guardian")


class DemoChain(Protocol):
    """A chain that gives money away and passes time when told to."""

    def node(self) -> Node:
        """Whom to ask."""

    def fund(self, address: str, wei: int = ...) -> None:
        """Give an address money for gas."""

    def mine(self, blocks: int = ..., seconds_apart: int = ...) -> None:
        """Add blocks."""

    def pass_time(self, seconds: int) -> None:
        """Add a block that is so many seconds later."""


@dataclass(frozen=True)
class OnChain:
    """What came of it: who had claimed what, in which way, and how ledger and chain compare."""

    distributor: Distributor
    claimed: Mapping[str, tuple[str, int]]  # how and how much, by contributor
    reconciliation: Reconciliation


def settle_on_chain(books: Ledger, chain: DemoChain, out: Console) -> OnChain:
    """Publish what is payable in `ASSET`, let time pass, claim for three, and hold the ledger against the chain.

    Needs three contributors with something payable. Raises what publishing and claiming do.
    """
    node = chain.node()
    keys = {role: Keystore.throwaway() for role in ROLES}
    with books.reading() as session:
        payable = {who: due for who, due in balances.by_contributor(session, "payable", ASSET.code).items() if due}
    best = sorted(payable, key=lambda who: (-payable[who], who))
    keys |= {who: Keystore.throwaway() for who in best}
    for key in keys.values():
        chain.fund(key.address)

    distributor = _distributor(books, node, keys, sum(payable.values()))
    out.print(f"distributor {distributor.address}, holding {ASSET.format(sum(payable.values()))} {ASSET.code}")
    books.transact(lambda session: _register_addresses(session, distributor.chain_id, {w: keys[w] for w in best}))
    out.print(f"{len(best)} contributors have each proved that a payout address is theirs, by its signature")

    publisher = Publisher(
        books,
        node,
        keys["publisher"],
        distributor.id,
        fee_cap=FEE_CAP,
        patience=Patience(look=timedelta(seconds=DELAY / 4)),
        wait=lambda seconds: chain.pass_time(int(seconds)),
    )
    outcome = publisher.publish(until="active")
    made = outcome.publication
    out.print(f"root {made.root_id} of {ASSET.format(made.total)} {ASSET.code} is {outcome.state.stage}: {made.root}")

    claimed = _claim(books, node, distributor, keys, best[:3])
    chain.mine(CONFIRMATIONS)
    watch(books, node, distributor.id)
    out.print(_table(books, node, distributor, keys, payable, claimed))
    return OnChain(distributor, claimed, reconcile(books, node, distributor.id))


def _distributor(books: Ledger, node: Node, keys: Mapping[str, Signer], funds: int) -> Distributor:
    owner = keys["owner"]
    chain_id = node.chain_id()
    roles = Roles(*(keys[role].address for role in ROLES))

    def send(to: str | None, data: bytes) -> str:
        planned = sending.cost(node, owner.address, to, data, fee_cap=FEE_CAP)
        receipt = sending.send(node, owner, chain_id, to, data, planned=planned, wait=_blink)
        return receipt.contract or ""

    coin = Token(node, send(None, token.deployment("Demo dollar", ASSET.code, ASSET.exponent, owner.address)))
    planned = deployment.cost(node, owner.address, coin.address, roles, DELAY, fee_cap=FEE_CAP)
    address, block = deployment.deploy(node, owner, coin.address, roles, DELAY, planned=planned, wait=_blink)
    send(coin.address, coin.mint(address, funds))
    return deployment.register(books, node, address, ASSET, first_block=block, confirmations=CONFIRMATIONS)


def _register_addresses(session: Session, chain_id: int, keys: Mapping[str, Keystore]) -> None:
    for who, key in keys.items():
        asked = to_sign(session, contributor=who, chain_id=chain_id, address=key.address)
        signature = key.sign_typed_data(asked.ownership)
        set_address(session, contributor=who, chain_id=chain_id, address=key.address, signature=signature)


def _claim(
    books: Ledger, node: Node, distributor: Distributor, keys: Mapping[str, Signer], three: list[str]
) -> dict[str, tuple[str, int]]:
    """The first claims itself, the second by a signature that the first hands in, the third is claimed for."""
    contract = DistributorContract(node, distributor.chain_id, distributor.address)
    with books.reading() as session:
        proofs = {who: Proof.of(publications.proof_of(session, who, distributor)) for who in three}
    itself, by_signature, by_another = three

    def claim(who: str, **how: object) -> Made:
        return claims.make_claim(
            contract,
            keys[itself],
            [proofs[who]],
            fee_cap=FEE_CAP,
            wait=_blink,
            **how,  # type: ignore[arg-type]
        )

    vault = Keystore.throwaway().address
    deadline = 2**40  # of a demonstration's chain, whose time is its own
    permitted = claims.permit(contract, keys[by_signature], proofs[by_signature], vault, deadline)
    made = {
        itself: ("itself", claim(itself)),
        by_signature: (f"to a vault, by a signature that {itself} hands in", claim(by_signature, permitted=permitted)),
        by_another: (f"{itself}, for it", claim(by_another)),
    }
    return {who: (how, one.paid[0].amount) for who, (how, one) in made.items()}


def _table(
    books: Ledger,
    node: Node,
    distributor: Distributor,
    keys: Mapping[str, Signer],
    payable: Mapping[str, int],
    claimed: Mapping[str, tuple[str, int]],
) -> Table:
    with books.reading() as session:
        held = {kind: balances.by_contributor(session, kind, ASSET.code) for kind in ("in_flight", "paid")}
    coin = Token(node, distributor.token)
    table = Table(header_style="bold", show_footer=True)
    table.add_column("contributor", "all")
    names = ("published", "in flight", "paid", "on its address")
    rows = {
        who: (due, held["in_flight"].get(who, 0), held["paid"].get(who, 0), coin.balance_of(keys[who].address))
        for who, due in payable.items()
    }
    for number, name in enumerate(names):
        table.add_column(name, ASSET.format(sum(row[number] for row in rows.values())), justify="right")
    table.add_column("claimed by")
    for who, row in sorted(rows.items(), key=lambda item: (-item[1][0], item[0])):
        table.add_row(who, *map(ASSET.format, row), claimed.get(who, ("",))[0])
    return table


def _blink() -> None:
    time.sleep(0.02)  # such a chain mines at once
