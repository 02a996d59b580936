"""Books that owe three contributors money and know a distributor on a chain of the tests, and what is asked of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any

from sqlmodel import Session, col, select

from ledger import balances, journal, registry
from ledger.audit import audit
from ledger.chain import publications
from ledger.chain.addresses import set_address, to_sign
from ledger.chain.contract import Submitted
from ledger.chain.distributors import distributor, register_distributor
from ledger.chain.node import Node
from ledger.chain.publisher import Patience, Publisher
from ledger.chain.reconcile import reconcile
from ledger.database import Ledger
from ledger.lines import credit, debit
from ledger.models import Attempt, Distributor, Entry, Publication
from ledger.money import Amount, Asset
from ledger.stakes import deposit
from tests.ledger.chain.world import CONTRIBUTORS, World

ASSET = "DUSD"
DUE: Mapping[str, int] = {"alice": 5_000_000, "bob": 7_000_000, "carol": 9_000_000}
CONFIRMATIONS = 3
FEE_CAP = 10**12
MOST_WAITS = 100
IMPATIENT = Patience(look=timedelta(), stuck=timedelta(hours=1), outage=timedelta())


def prepare(books: Ledger, world: World, *, confirmations: int = CONFIRMATIONS) -> Ledger:
    """Let the books owe what `DUE` says, know the distributor, and know where everybody is paid."""
    with books.writing() as session:
        for name in CONTRIBUTORS:
            registry.add_contributor(session, name, name.title())
        deposit(session, "alice", Amount(1, Asset(ASSET, 6)), key="stake")  # the asset's first use
        register(session, world, confirmations=confirmations)
        for name in CONTRIBUTORS:
            asked = to_sign(session, contributor=name, chain_id=world.contract.chain_id, address=world.address(name))
            set_address(
                session,
                contributor=name,
                chain_id=world.contract.chain_id,
                address=world.address(name),
                signature=world.keys[name].sign_typed_data(asked.ownership),
            )
    owe(books, DUE, "first")
    return books


def register(session: Session, world: World, *, confirmations: int = CONFIRMATIONS) -> Distributor:
    """Register a world's distributor."""
    return register_distributor(
        session,
        chain_id=world.contract.chain_id,
        address=world.contract.address,
        token=world.token.address,
        asset=ASSET,
        code_hash=world.contract.code_hash(),
        activation_delay=world.contract.activation_delay(),
        first_block=world.first_block,
        confirmations=confirmations,
    )


def owe(books: Ledger, due: Mapping[str, int], key: str) -> None:
    """Make money payable, smallest units."""
    lines = [line for name, amount in due.items() for line in _owed(name, amount)]
    with books.writing() as session:
        journal.post(session, kind="settlement of a test", subject="all", key=key, payload={}, lines=lines)


def _owed(name: str, amount: int) -> list[Any]:
    return [debit("buyer", ASSET, amount), credit(f"payable:{name}", ASSET, amount)]


def publisher(
    books: Ledger,
    world: World,
    *,
    wait: Callable[[], object] | None = None,
    node: Node | None = None,
    signer: str = "publisher",
    **options: Any,
) -> Publisher:
    """A publisher that never sleeps: where it would, a block is mined, or what `wait` does is done."""
    given = {"fee_cap": FEE_CAP, "patience": IMPATIENT} | options
    waits = count(1)

    def waited(seconds: float) -> None:
        assert next(waits) < MOST_WAITS, "a publisher waits for ever"
        (wait or world.chain.mine)()

    return Publisher(books, node or world.node, world.keys[signer], wait=waited, **given)


# What there is


def stands(books: Ledger, kind: str) -> dict[str, int]:
    """What contributors' accounts of a kind hold, of those that hold anything."""
    with books.reading() as session:
        return {who: held for who, held in balances.by_contributor(session, kind, ASSET).items() if held}


def made(books: Ledger) -> list[Publication]:
    with books.reading() as session:
        return publications.publications(session, distributor(session))


def state(books: Ledger) -> str:
    """What became of the newest publication."""
    with books.reading() as session:
        return publications.state(session, publications.publications(session, distributor(session))[-1])


def tried(books: Ledger) -> list[Attempt]:
    """All attempts of all publications."""
    with books.reading() as session:
        return list(session.exec(select(Attempt).order_by(col(Attempt.id))))


def kinds(books: Ledger) -> list[str]:
    """The kinds of entries that settlement on a chain made, in order."""
    with books.reading() as session:
        found = session.exec(select(Entry.kind).order_by(col(Entry.sequence))).all()
    chain = ("publication", "published", "root activated", "root revoked", "publication abandoned", "claim")
    return [kind for kind in found if kind in chain]


def assert_sound(books: Ledger, world: World, distributor_id: int | None = None) -> None:
    """Check that the books hold by themselves, and against the chain."""
    with books.reading() as session:
        found = audit(session)
    assert found.ok, [f"{check.name}: {check.detail}" for check in found.checks if not check.ok]
    differences = reconcile(books, world.node, distributor_id).differences
    assert not differences, differences


def submissions(world: World) -> list[int]:
    """The ids of all roots that the chain has logs of."""
    head = world.node.block("latest")
    assert head is not None
    return [one.id for one in world.contract.events(world.first_block, head.number) if isinstance(one, Submitted)]
