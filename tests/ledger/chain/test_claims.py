from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.chain.claims import Permit, Proof, estimate, make_claim, permit, read_json
from ledger.chain.contract import DistributorContract
from ledger.chain.merkle import Tree
from ledger.errors import (
    ChainError,
    ClaimError,
    FeeCapError,
    NotMinedError,
    RevertedError,
    TransactionRevertedError,
    WrongChainError,
    WrongContractError,
)
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.books import FEE_CAP
from tests.ledger.chain.world import CONTRIBUTORS, World, key

SHARES = {"alice": 5, "bob": 7, "carol": 9}
LATER = 2**40  # a deadline in seconds that does not come


def said(world: World, who: str, *, id: int = 1, shares: dict[str, int] = SHARES) -> dict[str, Any]:
    """A proof as a file holds it."""
    tree = Tree(world.chain_id, world.contract.address, [(world.address(one), cut) for one, cut in shares.items()])
    return {
        "chain_id": world.chain_id,
        "distributor": world.contract.address,
        "root_id": id,
        "root": "0x" + tree.root.hex(),
        "account": world.address(who),
        "cumulative": str(shares[who]),
        "proof": ["0x" + node.hex() for node in tree.proof(world.address(who))],
    }


@pytest.fixture
def active(world: World) -> World:
    """A distributor whose root 1 has given everybody a share."""
    tree = Tree(world.chain_id, world.contract.address, [(world.address(who), cut) for who, cut in SHARES.items()])
    world.submit(1, tree.root, tree.total)
    world.activate()
    return world


def shown(world: World, who: str, **options: Any) -> Proof:
    return Proof.of(said(world, who, **options))


def claim(world: World, by: str, *who: str, **options: Any) -> dict[str, int]:
    """What somebody's claim for others paid, by where it went."""
    given = {"fee_cap": FEE_CAP} | options
    made = make_claim(world.contract, world.keys[by], [shown(world, one) for one in who], **given)
    return {one.to: one.amount for one in made.paid}


def test_an_account_claims_for_itself_and_anybody_for_anybody(active: World) -> None:
    for by, who in (("alice", "alice"), ("alice", "bob"), ("owner", "carol")):
        assert claim(active, by, who) == {active.address(who): SHARES[who]}
        assert active.token.balance_of(active.address(who)) == SHARES[who]


def test_an_account_has_its_tokens_paid_elsewhere(active: World) -> None:
    assert claim(active, "alice", "alice", to=active.address("bob")) == {active.address("bob"): SHARES["alice"]}
    assert active.contract.claimed(active.address("alice")) == SHARES["alice"]


def test_many_are_paid_by_one_transaction_but_for_those_who_were_paid(active: World) -> None:
    claim(active, "bob", "bob")
    made = make_claim(
        active.contract, active.keys["owner"], [shown(active, who) for who in CONTRIBUTORS], fee_cap=FEE_CAP
    )
    assert {one.to: one.amount for one in made.paid} == {active.address(who): SHARES[who] for who in ("alice", "carol")}
    assert made.refused == []


def test_a_later_root_pays_the_difference(active: World) -> None:
    claim(active, "alice", "alice")
    more = {"alice": 12, "bob": 7, "carol": 9}
    tree = Tree(active.chain_id, active.contract.address, [(active.address(who), cut) for who, cut in more.items()])
    active.submit(2, tree.root, tree.total)
    active.activate()
    proof = shown(active, "alice", id=2, shares=more)
    found = estimate(active.contract, active.address("bob"), [proof], fee_cap=FEE_CAP)
    made = make_claim(active.contract, active.keys["bob"], [proof], fee_cap=FEE_CAP)
    assert found.amount == made.paid[0].amount == 12 - 5


def test_an_estimate_needs_no_key_and_sends_nothing(active: World) -> None:
    before = active.node.transaction_count(active.address("bob"))
    found = estimate(active.contract, active.address("bob"), [shown(active, "alice")], fee_cap=FEE_CAP)
    assert found.amount == SHARES["alice"]
    made = make_claim(active.contract, active.keys["bob"], [shown(active, "alice")], fee_cap=FEE_CAP)
    assert made.receipt.gas_used <= found.gas < 2 * made.receipt.gas_used
    assert active.node.transaction_count(active.address("bob")) == before + 1


# Permits


def test_a_permit_is_handed_in_by_somebody_else_once(active: World) -> None:
    elsewhere = key("a new wallet").address
    signed = permit(active.contract, active.keys["alice"], shown(active, "alice"), elsewhere, LATER)
    assert Permit.of(json.loads(json.dumps(signed.as_json()))) == signed
    assert claim(active, "bob", "alice", permitted=signed) == {elsewhere: SHARES["alice"]}
    with pytest.raises(ClaimError, match="has claimed all"):
        claim(active, "bob", "alice", permitted=signed)


def test_a_permit_that_was_given_up_is_refused(active: World) -> None:
    signed = permit(active.contract, active.keys["alice"], shown(active, "alice"), active.address("bob"), LATER)
    active.send("alice", active.contract.address, active.contract.cancel_signatures())
    with pytest.raises(ClaimError, match="let it sign again"):
        claim(active, "bob", "alice", permitted=signed)


def test_a_permit_that_is_over_is_refused_by_the_contract_before_anything_is_sent(active: World) -> None:
    signed = permit(active.contract, active.keys["alice"], shown(active, "alice"), active.address("bob"), 1)
    before = active.node.transaction_count(active.address("bob"))
    with pytest.raises(RevertedError, match="the signature was valid until 1970"):
        claim(active, "bob", "alice", permitted=signed)
    assert active.node.transaction_count(active.address("bob"), "pending") == before


CHANGES: dict[str, dict[str, Any]] = {
    "to": {"to": key("a thief").address},
    "deadline": {"deadline": LATER + 1},
    "amount": {"cumulative": 6},
    "root": {"root_id": 2},
    "account": {"account": key("a thief").address},
    "signature": {"signature": "0x" + 130 * "1"},
    "short": {"signature": "0x1234"},
    "no hexadecimal": {"signature": "signature"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_permit_that_was_changed_is_refused_before_the_chain_is_asked_to_pay(active: World, name: str) -> None:
    signed = permit(active.contract, active.keys["alice"], shown(active, "alice"), active.address("bob"), LATER)
    with pytest.raises(ClaimError):
        claim(active, "bob", "alice", permitted=replace(signed, **CHANGES[name]))
    assert active.contract.total_claimed() == 0


def test_only_the_account_permits(active: World) -> None:
    with pytest.raises(ClaimError, match=r"only .* may sign"):
        permit(active.contract, active.keys["bob"], shown(active, "alice"), active.address("bob"), LATER)


def test_only_the_account_sends_its_tokens_elsewhere(active: World) -> None:
    with pytest.raises(ClaimError, match="give its signature"):
        claim(active, "bob", "alice", to=active.address("bob"))


# Proofs


def other(value: Any) -> Any:
    """Something like it, and not it."""
    if isinstance(value, list):
        return [*value[:-1], "0x" + 64 * "7"]
    if isinstance(value, int):
        return value + 1
    if value.isdecimal():
        return str(int(value) + 1)
    return "0x" + 64 * "7" if len(value) == 66 else key("a thief").address


@pytest.mark.parametrize("field", ["chain_id", "distributor", "root", "account", "cumulative", "proof"])
def test_a_proof_that_was_changed_is_refused_without_a_chain(world: World, field: str) -> None:
    changed = said(world, "alice")
    changed[field] = other(changed[field])
    with pytest.raises(ClaimError, match="does not lead to its root"):
        Proof.of(changed)


@pytest.mark.parametrize("field", ["chain_id", "distributor", "root_id", "root", "account", "cumulative", "proof"])
@pytest.mark.parametrize("value", [None, "nonsense", [5]])
def test_what_is_no_proof_is_refused_by_one_sentence(world: World, field: str, value: Any) -> None:
    for broken in (
        {**said(world, "alice"), field: value},
        {k: v for k, v in said(world, "alice").items() if k != field},
    ):
        with pytest.raises(ChainError) as caught:
            Proof.of(broken)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_none_or_holds_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="cannot be read: No such file"):
        read_json(tmp_path / "missing.json")
    for content, reason in (("{", "is no JSON"), ("[]", "holds no JSON object")):
        (tmp_path / "proof.json").write_text(content)
        with pytest.raises(ClaimError, match=reason):
            Proof.read(tmp_path / "proof.json")


def test_a_proof_by_a_root_that_the_chain_has_not_is_refused(active: World) -> None:
    for options in ({"id": 2}, {"shares": {**SHARES, "alice": 6}}):
        with pytest.raises(ClaimError, match="on the chain is another one than the proof's"):
            make_claim(active.contract, active.keys["bob"], [shown(active, "alice", **options)], fee_cap=FEE_CAP)
    assert active.contract.total_claimed() == 0


def test_a_proof_is_for_one_distributor(active: World) -> None:
    contract = DistributorContract(active.node, active.chain_id, active.token.address)
    with pytest.raises(ClaimError, match="the proof is for"):
        estimate(contract, active.address("bob"), [shown(active, "alice")], fee_cap=FEE_CAP)


# What stands in the way


def pause(world: World, anvil: Anvil) -> None:
    world.send("guardian", world.contract.address, world.contract.pause_claims(True))


def other_code(world: World, anvil: Anvil) -> None:
    anvil.ask("anvil_setCode", world.contract.address, "0x00")


OBSTACLES: dict[str, tuple[Callable[[World, Anvil], None], type[ChainError], str]] = {
    "paused": (pause, RevertedError, "paused"),
    "other code": (other_code, WrongContractError, "is not the distributor"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_cannot_be_claimed_is_refused_before_anything_is_signed(active: World, anvil: Anvil, name: str) -> None:
    hinder, error, reason = OBSTACLES[name]
    hinder(active, anvil)
    before = active.node.transaction_count(active.address("bob"))
    with pytest.raises(error, match=reason):
        claim(active, "bob", "alice")
    assert active.node.transaction_count(active.address("bob"), "pending") == before


def test_a_root_that_is_not_active_pays_nobody(world: World) -> None:
    tree = Tree(world.chain_id, world.contract.address, [(world.address(who), cut) for who, cut in SHARES.items()])
    world.submit(1, tree.root, tree.total)
    with pytest.raises(RevertedError, match="root 1 becomes active at"):
        claim(world, "bob", "alice")


def test_a_cap_that_is_too_low_sends_nothing(active: World) -> None:
    with pytest.raises(FeeCapError):
        claim(active, "bob", "alice", fee_cap=1)


def test_another_chain_is_refused(active: World) -> None:
    contract = DistributorContract(active.node, active.chain_id + 1, active.contract.address)
    with pytest.raises(WrongChainError):
        make_claim(contract, active.keys["bob"], [shown(active, "alice")], fee_cap=FEE_CAP)


def test_a_claim_that_is_not_mined_in_time_is_said_to_be_on_its_way(active: World, anvil: Anvil) -> None:
    anvil.automine(False)
    with pytest.raises(NotMinedError):
        claim(active, "bob", "alice", looks=2, wait=lambda: None)
    anvil.mine()
    assert active.contract.claimed(active.address("alice")) == SHARES["alice"]


def test_a_claim_that_another_one_overtakes_is_said_to_have_reverted(active: World, anvil: Anvil) -> None:
    anvil.automine(False)
    call = active.contract.claim(1, active.address("alice"), 5, shown(active, "alice").nodes)

    def wait() -> None:
        (hash,) = anvil.waiting()
        overtaken = anvil.ask("eth_getRawTransactionByHash", hash)
        anvil.drop_all()
        active.node.send(active.sign("owner", active.contract.address, call))
        anvil.mine()
        anvil.ask("eth_sendRawTransaction", overtaken)
        anvil.mine()

    with pytest.raises(TransactionRevertedError):
        claim(active, "bob", "alice", wait=wait)
    assert active.token.balance_of(active.address("alice")) == 5
