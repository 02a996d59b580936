"""Kill −9 at every write to the books and every request to the node: started again, it makes one root, with one nonce.

Where requests only read, one after the other, a kill ahead of any leaves the same, since none is made while a
transaction is open: the first of them stands for all. What was left by an earlier kill is gone on from once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from ledger.chain import publications
from ledger.chain.claims import Proof, make_claim
from ledger.chain.distributors import distributor
from ledger.chain.watcher import watch
from ledger.database import Ledger
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.books import DUE, FEE_CAP, assert_sound, kinds, prepare, publisher, stands, submissions, tried
from tests.ledger.chain.killing import NOW, READ, WORKS, WRITE, Address, asking, killed, points, publish_at_once
from tests.ledger.chain.world import World
from tests.ledger.conftest import DATABASES
from tests.ledger.reliability.killing import stored
from tests.ledger.server import Server


@dataclass
class Place:
    """Books on either database, and copies of them."""

    folder: Path
    server: Server | None = None
    database: str = ""

    @property
    def place(self) -> str:
        return self.server.url(self.database) if self.server else str(self.folder / "books.db")

    def copy(self, folder: Path) -> Place:
        if self.server:
            return Place(self.folder, self.server, self.server.make(self.database))
        shutil.rmtree(folder, ignore_errors=True)
        return Place(shutil.copytree(self.folder, folder))

    def drop(self) -> None:
        if self.server:
            self.server.drop(self.database)

    def open(self) -> Ledger:
        return Ledger.open(self.place, clock=lambda: NOW)


def empty_place(request: pytest.FixtureRequest, folder: Path, database: str) -> Place:
    made = Place(folder)
    if database == "postgresql":
        made.server = request.getfixturevalue("server")
        made.database = made.server.make()
    Ledger.create(made.place, clock=lambda: NOW).close()
    return made


@pytest.fixture
def owing_place(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Place]:
    """Books that owe, in a file unless a test names the database."""
    folder = tmp_path / "owing"
    folder.mkdir()
    made = empty_place(request, folder, getattr(request, "param", "sqlite"))
    with made.open() as books:
        prepare(books, world, confirmations=1)
    yield made
    made.drop()


def left(place: str, anvil: Anvil) -> dict[str, Any]:
    """All that a killed process leaves behind: every row, the chain's height, and what waits for a block."""
    anvil.settle()
    return {**stored(place), "chain": [anvil.ask("eth_blockNumber"), *anvil.waiting()]}


def states_left(before: Place, anvil: Anvil, address: Address, name: str, folder: Path) -> Iterator[Place]:
    """Books and chain as a kill at each point of a work leaves them; what an earlier one left is not given again.

    The chain is put back when the next is asked for: it mines at once, unless something waits for a block.
    """
    waiting = [anvil.ask("eth_getRawTransactionByHash", hash) for hash in anvil.waiting()]
    seen = [left(before.place, anvil)]
    snapshot, copy = anvil.snapshot(), before.copy(folder)
    found = points(copy.place, address, name)
    assert {WRITE, READ} <= {*found}
    deadly = [n for n, one in enumerate(found, 1) if one != READ or n == 1 or found[n - 2] != READ]
    touched = True
    for point in [*deadly, len(found) + 1]:
        if touched:
            anvil.revert(snapshot)
            snapshot = anvil.snapshot()
            anvil.automine(not waiting)
            for raw in waiting:
                anvil.ask("eth_sendRawTransaction", raw)
            copy.drop()
            copy = before.copy(folder)
        assert killed(copy.place, address, name, point) == (point <= len(found))
        now = left(copy.place, anvil)
        touched = now != seen[0]
        if now not in seen or point > len(found):
            seen.append(now)
            yield copy
    copy.drop()


@pytest.mark.parametrize("owing_place", DATABASES, indirect=True)
def test_a_publisher_killed_at_any_point_makes_one_root_when_it_is_started_again(
    owing_place: Place, world: World, anvil: Anvil, tmp_path: Path
) -> None:
    nonce = world.node.transaction_count(world.address("publisher"))
    states = 0
    for copy in states_left(owing_place, anvil, Address.of(world), "publish", tmp_path / "copy"):
        states += 1
        with copy.open() as books:
            publisher(books, world).publish()
            assert submissions(world) == [1]
            assert {attempt.nonce for attempt in tried(books)} == {nonce}
            assert world.node.transaction_count(world.address("publisher")) == nonce + 1
            assert kinds(books) == ["publication", "published"]
            assert stands(books, "in_flight") == DUE
            assert stands(books, "payable") == stands(books, "publishing") == {}
            assert_sound(books, world)
    assert states >= 6  # intended, saved, sent, mined, seen, booked


def test_a_replacement_killed_at_any_point_leaves_one_root_at_one_nonce(
    owing_place: Place, world: World, anvil: Anvil, tmp_path: Path
) -> None:
    nonce = world.node.transaction_count(world.address("publisher"))
    anvil.automine(False)
    with owing_place.open() as books:
        publisher(books, world, wait=lambda: None).publish(until="sent")
    for copy in states_left(owing_place, anvil, Address.of(world), "replace", tmp_path / "copy"):
        with copy.open() as books:
            outcome = publisher(books, world).publish()
            assert outcome.state.stage == "final"
            assert {attempt.nonce for attempt in tried(books)} == {nonce}
            assert submissions(world) == [1]
            assert_sound(books, world)


def test_a_cancellation_killed_at_any_point_leaves_no_root_or_no_cancellation(
    owing_place: Place, world: World, anvil: Anvil, tmp_path: Path
) -> None:
    anvil.automine(False)
    with owing_place.open() as books:
        publisher(books, world, wait=lambda: None).publish(until="sent")
    ends = set()
    for copy in states_left(owing_place, anvil, Address.of(world), "cancel", tmp_path / "copy"):
        with copy.open() as books:
            stage = publisher(books, world).publish().state.stage
            ends.add(stage)
            assert submissions(world) == ([1] if stage == "final" else [])
            assert stands(books, "in_flight" if stage == "final" else "payable") == DUE
            assert stands(books, "publishing") == {}
            assert_sound(books, world)
    assert ends == {"final", "abandoned"}


def test_a_watcher_killed_at_any_point_books_each_claim_once(
    owing_place: Place, world: World, anvil: Anvil, tmp_path: Path
) -> None:
    with owing_place.open() as books:
        publisher(books, world).publish()
        world.activate()
        with books.reading() as session:
            proofs = [publications.proof_of(session, who, distributor(session)) for who in ("alice", "bob")]
    for proof in proofs:
        make_claim(world.contract, world.keys["carol"], [Proof.of(proof)], fee_cap=FEE_CAP)
    world.chain.mine()
    for copy in states_left(owing_place, anvil, Address.of(world), "watch", tmp_path / "copy"):
        with copy.open() as books:
            watch(books, world.node, None)
            assert stands(books, "paid") == {who: DUE[who] for who in ("alice", "bob")}
            assert kinds(books) == ["publication", "published", "claim", "claim", "root activated"]
            assert_sound(books, world)


@pytest.mark.parametrize("name", ["publish", "cancel", "replace"])
def test_no_node_is_asked_while_a_transaction_is_open(
    owing_place: Place, world: World, anvil: Anvil, name: str
) -> None:
    anvil.automine(name == "publish")
    with owing_place.open() as books:
        if name != "publish":
            publisher(books, world, wait=lambda: None).publish(until="sent")
        begun: list[str] = []
        event.listen(books.engine, "begin", lambda _: begun.append("open"))
        for over in ("commit", "rollback"):
            event.listen(books.engine, over, lambda _: begun.pop())
        asked: list[int] = []
        with asking(world.node, lambda _: asked.append(len(begun))):
            WORKS[name](books, world)
        assert len(asked) > 10
        assert set(asked) == {0}


@pytest.mark.parametrize("owing_place", DATABASES, indirect=True)
def test_publishers_at_once_make_one_root(owing_place: Place, world: World, anvil: Anvil) -> None:
    nonce = world.node.transaction_count(world.address("publisher"))
    outcomes = publish_at_once(owing_place.place, Address.of(world), 3)
    assert outcomes == [outcomes[0]] * 3
    assert outcomes[0][1] == "final"
    with owing_place.open() as books:
        assert {attempt.nonce for attempt in tried(books)} == {nonce}
        assert len(tried(books)) == 1
        assert submissions(world) == [1]
        assert kinds(books) == ["publication", "published"]
        assert stands(books, "in_flight") == DUE
        assert_sound(books, world)
