"""Books and chain are made to differ, in every way that there is; each difference is named, in both directions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger.chain import booking, publications
from ledger.chain.artifact import artifact
from ledger.chain.claims import Proof, make_claim
from ledger.chain.contract import Claimed
from ledger.chain.distributors import distributor
from ledger.chain.evidence import View
from ledger.chain.merkle import Tree
from ledger.chain.node import Block
from ledger.chain.reconcile import Difference, reconcile
from ledger.chain.watcher import watch
from ledger.database import Ledger
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.books import (
    CONFIRMATIONS,
    DUE,
    FEE_CAP,
    assert_sound,
    kinds,
    owe,
    publisher,
    stands,
    tried,
)
from tests.ledger.chain.world import DELAY, World

ABI = artifact("CumulativeDistributor").abi


def differences(books: Ledger, world: World) -> list[Difference]:
    return reconcile(books, world.node).differences


def named(books: Ledger, world: World) -> set[tuple[str, str]]:
    """What differs: the kind, and what it is about."""
    return {(one.kind, one.what) for one in differences(books, world)}


def claim(books: Ledger, world: World, who: str) -> str:
    """Somebody claims; the transaction."""
    with books.reading() as session:
        proof = Proof.of(publications.proof_of(session, who, distributor(session)))
    return make_claim(world.contract, world.keys[who], [proof], fee_cap=FEE_CAP).receipt.transaction


@pytest.fixture
def settled(owing: Ledger, world: World) -> Ledger:
    """Books whose root is active, and by which alice has claimed; all is booked."""
    publisher(owing, world).publish()
    world.activate()
    claim(owing, world, "alice")
    world.chain.mine(CONFIRMATIONS)
    seen = watch(owing, world.node, None)
    assert (seen.claims, seen.activated) == (1, [1])
    assert_sound(owing, world)
    return owing


# Nothing differs


def test_what_is_on_its_way_differs_from_nothing(owing: Ledger, world: World, anvil: Anvil) -> None:
    assert_sound(owing, world)
    publisher(owing, world).step()
    assert_sound(owing, world)
    publisher(owing, world).publish(until="sent")
    assert_sound(owing, world)
    assert reconcile(owing, world.node).remarks  # a nonce that is not used in a final block
    publisher(owing, world).publish()
    assert_sound(owing, world)


def test_what_is_not_final_yet_differs_from_nothing(settled: Ledger, world: World) -> None:
    claim(settled, world, "bob")
    world.chain.mine(CONFIRMATIONS - 1)
    assert named(settled, world) == set()
    world.chain.mine()
    assert {kind for kind, _ in named(settled, world)} == {"claim", "claimed"}


def test_a_watcher_started_again_books_nothing_twice_and_starts_where_it_was(settled: Ledger, world: World) -> None:
    before = kinds(settled)
    seen = watch(settled, world.node, None)
    assert (seen.published, seen.revoked, seen.claims, seen.strays) == ([], [], 0, [])
    assert seen.first > world.first_block
    assert watch(settled, world.node, None, since=world.first_block).claims == 0
    assert kinds(settled) == before


def test_watchers_that_see_different_blocks_book_an_activation_once(
    owing: Ledger, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher(owing, world).publish()
    world.activate()
    world.chain.mine(CONFIRMATIONS)
    view = View(world.node, CONFIRMATIONS)
    looked = view.block

    def overtaken(number: int) -> Block | None:
        monkeypatch.undo()
        world.chain.mine()
        assert watch(owing, world.node, None).activated == [1]
        return looked(number)

    monkeypatch.setattr(view, "block", overtaken)
    watch(owing, world.node, None, view=view)
    assert kinds(owing) == ["publication", "published", "root activated"]
    assert_sound(owing, world)


# The chain has more


def test_a_root_of_a_stolen_key_is_named_and_what_is_claimed_by_it_is_not_booked(settled: Ledger, world: World) -> None:
    owned = world.address("owner")
    tree = Tree(world.chain_id, world.contract.address, [(owned, 7), (world.address("bob"), sum(DUE.values()))])
    world.submit(2, tree.root, tree.total)
    world.activate()
    call = world.contract.claim(2, owned, 7, tree.proof(owned))
    hash = world.send("guardian", world.contract.address, call).transaction
    world.chain.mine(CONFIRMATIONS)
    seen = watch(settled, world.node, None)
    assert [one.why for one in seen.strays] == [
        "root 2 was not published by this ledger",
        f"{owned} was never promised 7 in all",
    ]
    assert stands(settled, "paid") == {"alice": DUE["alice"]}
    found = differences(settled, world)
    assert {one.kind for one in found} == {"unknown root", "claim", "claimed", "promised"}
    by_what = {one.what: one for one in found}
    assert by_what["root 2"].chain == f"0x{tree.root.hex()} for {tree.total} in all"
    assert any(hash in what for what in by_what)
    assert (by_what[owned].ledger, by_what[owned].chain) == ("0", "7")


def test_a_claim_after_one_that_nothing_was_published_for_is_named_and_stops_nothing(
    settled: Ledger, world: World
) -> None:
    """A stolen key gave bob more than he was due; what he then claims by the ledger's own root is less than it says."""
    bob, given = world.address("bob"), sum(DUE.values()) - DUE["alice"] - DUE["carol"] - 1
    tree = Tree(world.chain_id, world.contract.address, [(bob, given), (world.address("owner"), sum(DUE.values()))])
    world.submit(2, tree.root, tree.total)
    world.activate()
    world.send("guardian", world.contract.address, world.contract.claim(2, bob, given, tree.proof(bob)))
    claim(settled, world, "bob")
    claim(settled, world, "carol")
    world.chain.mine(CONFIRMATIONS)
    seen = watch(settled, world.node, None)
    assert [one.event.account for one in seen.strays if isinstance(one.event, Claimed)] == [bob, bob]
    assert stands(settled, "paid") == {who: DUE[who] for who in ("alice", "carol")}
    assert {kind for kind, _ in named(settled, world)} == {"unknown root", "claim", "claimed", "promised"}


def test_a_submission_that_is_not_booked_is_named(owing: Ledger, world: World) -> None:
    publisher(owing, world).publish(until="sent")
    world.chain.mine(CONFIRMATIONS)
    assert named(owing, world) == {("published", "root 1"), ("promised", "by all roots in force")}
    watch(owing, world.node, None)
    assert_sound(owing, world)


def test_a_submission_whose_attempts_are_lost_is_booked_from_the_logs(
    owing: Ledger, world: World, tmp_path: Path
) -> None:
    """The books were put back to what they were before the submission was signed."""
    publisher(owing, world).step()
    owing.close()
    shutil.copyfile(owing.place, tmp_path / "kept.db")
    with Ledger.open(owing.place) as lost:
        publisher(lost, world).publish(until="sent")
    with Ledger.open(tmp_path / "kept.db") as kept:
        assert tried(kept) == []
        assert publisher(kept, world).publish().state.stage == "final"
        assert tried(kept) == []
        assert stands(kept, "in_flight") == DUE
        assert_sound(kept, world)


@pytest.mark.parametrize("what", ["total", "metadata"])
def test_a_submission_of_something_else_is_named_and_not_booked(owing: Ledger, world: World, what: str) -> None:
    publisher(owing, world).step()
    with owing.reading() as session:
        (made,) = publications.publications(session, distributor(session))
    root, metadata = bytes.fromhex(made.root[2:]), bytes.fromhex(made.metadata_hash[2:])
    if what == "total":
        world.submit(1, root, made.total + 1, metadata)
    else:
        world.submit(1, root, made.total, bytes(32))
    world.chain.mine(CONFIRMATIONS)
    assert len(watch(owing, world.node, None).strays) == 1
    assert kinds(owing) == ["publication"]
    found = {one.kind: one for one in differences(owing, world)}
    kind = "total" if what == "total" else "metadata hash"
    assert set(found) == {kind, "published", "promised"}
    assert found[kind].ledger == str(made.total if what == "total" else made.metadata_hash)


def test_a_root_that_is_submitted_after_it_was_abandoned_is_named(owing: Ledger, world: World) -> None:
    publisher(owing, world).step()
    with owing.reading() as session:
        (made,) = publications.publications(session, distributor(session))
    publisher(owing, world).cancel("wrong")
    world.submit(1, bytes.fromhex(made.root[2:]), made.total, bytes.fromhex(made.metadata_hash[2:]))
    world.chain.mine(CONFIRMATIONS)
    assert [one.why for one in watch(owing, world.node, None).strays] == ["root 1 was abandoned"]
    assert named(owing, world) == {("published", "root 1"), ("promised", "by all roots in force")}
    assert stands(owing, "payable") == DUE


def test_a_revocation_that_is_not_booked_is_named(owing: Ledger, world: World) -> None:
    publisher(owing, world).publish()
    world.send("guardian", world.contract.address, world.contract.revoke_root(1))
    world.chain.mine(CONFIRMATIONS)
    assert named(owing, world) == {("revoked", "root 1"), ("promised", "by all roots in force")}
    watch(owing, world.node, None)
    assert_sound(owing, world)


def test_a_nonce_that_another_transaction_took_is_told(owing: Ledger, world: World, anvil: Anvil) -> None:
    anvil.automine(False)
    publisher(owing, world, wait=lambda: None).publish(until="sent")
    (attempt,) = tried(owing)
    anvil.drop_all()
    world.node.send(world.sign("publisher", world.address("bob"), b"", nonce=attempt.nonce))
    anvil.mine(CONFIRMATIONS + 1)
    what = f"nonce {attempt.nonce} of {attempt.sender}"
    assert named(owing, world) == {("nonce", what)}
    publisher(owing, world).publish()
    found = reconcile(owing, world.node)
    assert found.ok
    assert found.remarks == [f"{what}: signed for a root that is published, used by another transaction"]


# The ledger has more


def published(books: Ledger, world: World) -> None:
    with books.writing() as session:
        (made,) = publications.publications(session, distributor(session))
        booking.book_published(session, made, transaction="0x" + 64 * "a", block_number=9, block_hash="0x" + 64 * "b")


def test_a_publication_that_never_happened_is_named(owing: Ledger, world: World) -> None:
    publisher(owing, world).step()
    published(owing, world)
    world.chain.mine(CONFIRMATIONS)
    assert named(owing, world) == {("published", "root 1"), ("promised", "by all roots in force")}


def test_a_publication_in_another_block_is_named(owing: Ledger, world: World) -> None:
    publisher(owing, world).publish(until="sent")
    published(owing, world)
    world.chain.mine(CONFIRMATIONS)
    (difference,) = differences(owing, world)
    assert (difference.kind, difference.what) == ("published", "root 1")
    assert "0xaaaa" in difference.ledger
    assert (tried(owing)[0].hash) in difference.chain


def test_a_revocation_that_never_happened_is_named(owing: Ledger, world: World) -> None:
    publisher(owing, world).publish()
    with owing.writing() as session:
        (made,) = publications.publications(session, distributor(session))
        booking.book_revoked(session, made, transaction="0x" + 64 * "a", block_number=9, block_hash="0x" + 64 * "b")
    assert named(owing, world) == {("revoked", "root 1"), ("promised", "by all roots in force")}


def book_claim(books: Ledger, world: World, amount: int) -> None:
    """Book that bob claimed."""
    with books.writing() as session:
        booking.book_claim(
            session,
            distributor(session),
            transaction="0x" + 64 * "c",
            log_index=0,
            block_number=9,
            block_hash="0x" + 64 * "d",
            address=world.address("bob"),
            to=world.address("bob"),
            amount=amount,
            cumulative=amount,
        )


def test_a_claim_that_never_happened_is_named(settled: Ledger, world: World) -> None:
    book_claim(settled, world, 4)
    bob = world.address("bob")
    found = {(one.kind, one.what): (one.ledger, one.chain) for one in differences(settled, world)}
    assert found == {
        ("claim", f"claim of {bob} in log 0 of 0x{64 * 'c'}"): ("4 of 4", "nothing"),
        ("claimed", bob): ("4", "0"),
        ("claimed", "by all accounts"): (str(DUE["alice"] + 4), str(DUE["alice"])),
    }


DEAD = "0x000000000000000000000000000000000000dEaD"
COLUMNS: dict[str, tuple[str, set[str]]] = {
    "another amount": ("amount = replace(amount, '5000000', '4000000')", {"claim", "claimed"}),
    "another recipient": (f"recipient = '{DEAD}'", {"claim"}),
    "another address": (f"address = '{DEAD}'", {"claim", "claimed"}),
    "another block": (f"block_hash = '0x{64 * 'e'}'", {"claim"}),
}


@pytest.mark.parametrize("what", COLUMNS)
def test_a_claim_that_is_booked_otherwise_is_named(settled: Ledger, world: World, what: str) -> None:
    change, expected = COLUMNS[what]
    tamper(settled, f"UPDATE chain_claims SET {change}")
    assert {one.kind for one in differences(settled, world)} == expected


@pytest.mark.parametrize(("column", "kind"), [("root", "root"), ("metadata_hash", "metadata hash")])
def test_a_publication_of_something_else_is_named(settled: Ledger, world: World, column: str, kind: str) -> None:
    tamper(settled, f"UPDATE publications SET {column} = '0x{64 * 'f'}'")
    assert kind in {one.kind for one in differences(settled, world)}


def tamper(books: Ledger, statement: str) -> None:
    """Change what is stored, past every trigger."""
    with books.engine.begin() as connection:
        triggers = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for name in triggers:
            connection.execute(text(f'DROP TRIGGER "{name}"'))
        connection.execute(text(statement))


# Tokens


def test_a_balance_below_what_is_promised_is_named(settled: Ledger, world: World, anvil: Anvil) -> None:
    """A token whose maker can take it back."""
    owed = DUE["bob"] + DUE["carol"]
    held = world.token.balance_of(world.contract.address)
    world.send("owner", world.contract.address, ABI.call("sweep", world.address("owner"), held - owed))
    world.chain.mine(CONFIRMATIONS)
    assert_sound(settled, world)
    anvil.ask("anvil_impersonateAccount", world.contract.address)
    anvil.fund(world.contract.address)
    stolen = {"from": world.contract.address, "to": world.token.address}
    anvil.ask("eth_sendTransaction", stolen | {"data": "0x" + world.token.transfer(world.address("bob"), 1).hex()})
    anvil.mine(CONFIRMATIONS + 1)
    (difference,) = differences(settled, world)
    assert (difference.kind, difference.ledger) == ("balance", f"{owed} are owed")
    assert difference.chain == f"{owed - 1} are there"


def test_several_publications_and_claims_reconcile(settled: Ledger, world: World) -> None:
    for number in range(2, 4):
        owe(settled, {"alice": number, "carol": 10 * number}, f"settlement {number}")
        publisher(settled, world).publish()
        world.chain.pass_time(DELAY)
        publisher(settled, world).publish(until="active")
        claim(settled, world, "alice")
        world.chain.mine(CONFIRMATIONS)
        watch(settled, world.node, None)
        assert_sound(settled, world)
    claim(settled, world, "carol")
    world.chain.mine(CONFIRMATIONS)
    assert watch(settled, world.node, None).claims == 1
    assert stands(settled, "paid") == {"alice": DUE["alice"] + 5, "carol": DUE["carol"] + 50}
    assert_sound(settled, world)
