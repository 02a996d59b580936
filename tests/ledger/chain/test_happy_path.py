"""From what is owed to tokens in three accounts: one claims, one signs and another pays, one is claimed for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger.chain import publications
from ledger.chain.claims import Permit, Proof, make_claim, permit, read_json
from ledger.chain.distributors import distributor
from ledger.chain.watcher import watch
from ledger.database import Ledger
from ledger.errors import ClaimError
from tests.ledger.chain.books import CONFIRMATIONS, DUE, FEE_CAP, assert_sound, kinds, owe, prepare, publisher, stands
from tests.ledger.chain.world import CONTRIBUTORS, DELAY, World, key


def proof_files(books: Ledger, folder: Path) -> dict[str, Path]:
    """A file for each contributor, as they get it."""
    with books.reading() as session:
        proofs = {who: publications.proof_of(session, who, distributor(session)) for who in CONTRIBUTORS}
    paths = {who: folder / f"{who}.json" for who in CONTRIBUTORS}
    for who, path in paths.items():
        path.write_text(json.dumps(proofs[who]))
    return paths


def go(books: Ledger, world: World, folder: Path) -> None:
    contract, token = world.contract, world.token
    elsewhere = key("alice's other wallet").address
    publisher(books, world).publish(until="sent")
    publisher(books, world).publish()
    world.chain.pass_time(DELAY)
    assert publisher(books, world).publish(until="active").state.stage == "active"
    files = proof_files(books, folder)

    mine = make_claim(contract, world.keys["bob"], [Proof.read(files["bob"])], fee_cap=FEE_CAP)
    assert [(one.account, one.to, one.amount) for one in mine.paid] == [
        (world.address("bob"), world.address("bob"), DUE["bob"])
    ]

    head = world.node.block("latest")
    assert head is not None
    shown = Proof.read(files["alice"])
    signed = permit(contract, world.keys["alice"], shown, elsewhere, head.timestamp + 3600)
    (folder / "permit.json").write_text(json.dumps(signed.as_json()))
    handed_in = Permit.of(read_json(folder / "permit.json"))
    made = make_claim(contract, world.keys["owner"], [shown], permitted=handed_in, fee_cap=FEE_CAP)
    assert [(one.account, one.to, one.amount) for one in made.paid] == [
        (world.address("alice"), elsewhere, DUE["alice"])
    ]

    for_carol = make_claim(contract, world.keys["bob"], [Proof.read(files["carol"])], fee_cap=FEE_CAP)
    assert [one.to for one in for_carol.paid] == [world.address("carol")]

    world.chain.mine(CONFIRMATIONS)
    assert watch(books, world.node, None).claims == 3
    holders = {"alice": elsewhere, "bob": world.address("bob"), "carol": world.address("carol")}
    assert {who: token.balance_of(holder) for who, holder in holders.items()} == DUE
    assert stands(books, "paid") == DUE
    assert stands(books, "in_flight") == {}
    assert kinds(books) == ["publication", "published", "root activated", "claim", "claim", "claim"]
    assert_sound(books, world)

    owe(books, {"carol": 11}, "second")
    publisher(books, world).publish()
    world.chain.pass_time(DELAY)
    publisher(books, world).publish(until="active")
    make_claim(contract, world.keys["carol"], [Proof.read(proof_files(books, folder)["carol"])], fee_cap=FEE_CAP)
    world.chain.mine(CONFIRMATIONS)
    watch(books, world.node, None)
    assert token.balance_of(holders["carol"]) == DUE["carol"] + 11
    assert stands(books, "paid") == {**DUE, "carol": DUE["carol"] + 11}
    assert_sound(books, world)


def test_what_is_owed_becomes_tokens_on_a_real_chain(owing_anywhere: Ledger, world: World, tmp_path: Path) -> None:
    go(owing_anywhere, world, tmp_path)


def test_the_same_on_a_chain_inside_this_process(file_books: Ledger, world_in_process: World, tmp_path: Path) -> None:
    go(prepare(file_books, world_in_process), world_in_process, tmp_path)


@pytest.mark.parametrize("who", CONTRIBUTORS)
def test_nobody_is_paid_twice(owing: Ledger, world: World, tmp_path: Path, who: str) -> None:
    publisher(owing, world).publish()
    world.activate()
    shown = Proof.read(proof_files(owing, tmp_path)[who])
    make_claim(world.contract, world.keys[who], [shown], fee_cap=FEE_CAP)
    with pytest.raises(ClaimError, match="has claimed all that this proof shows"):
        make_claim(world.contract, world.keys[who], [shown], fee_cap=FEE_CAP)
    assert world.token.balance_of(world.address(who)) == DUE[who]
