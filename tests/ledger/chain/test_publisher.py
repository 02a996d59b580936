from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from ledger.chain import publications
from ledger.chain.artifact import artifact
from ledger.chain.contract import DistributorContract, deployment
from ledger.chain.distributors import distributor
from ledger.chain.fees import Fees
from ledger.chain.publisher import State
from ledger.chain.transactions import decode, transaction
from ledger.database import Ledger
from ledger.errors import (
    CancellationError,
    ChainError,
    FeeCapError,
    GasMoneyError,
    NothingDueError,
    NotThePublisherError,
    PublicationOpenError,
    PublicationPendingError,
    RootsPausedError,
    SubmissionRevertedError,
    UnderfundedError,
    UnknownRootError,
    UnlikeDistributorError,
    WrongContractError,
)
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.books import (
    CONFIRMATIONS,
    DUE,
    FEE_CAP,
    IMPATIENT,
    assert_sound,
    kinds,
    made,
    owe,
    publisher,
    register,
    stands,
    state,
    submissions,
    tried,
)
from tests.ledger.chain.world import DELAY, FUNDS, World

GWEI = 10**9
CONTRACT = artifact("CumulativeDistributor").abi


def nothing() -> None:
    """What a publisher does between two looks, where the chain is to stand still."""


def raised(before: int) -> int:
    """The least fee that takes the place of another: an eighth more, rounded up."""
    return -(-before * 9 // 8)


# The straight way


def test_what_is_due_is_published_once_and_is_in_flight_when_it_is_final(owing: Ledger, world: World) -> None:
    seen: list[State] = []
    nonce = world.node.transaction_count(world.address("publisher"))
    outcome = publisher(owing, world, progress=seen.append).publish()
    assert [(one.stage, one.depth) for one in seen] == [
        ("sent", None),
        *(("mined", depth) for depth in range(1, CONFIRMATIONS)),
        ("final", CONFIRMATIONS),
    ]
    assert stands(owing, "in_flight") == DUE
    assert stands(owing, "payable") == stands(owing, "publishing") == {}
    root = world.contract.root_of(1)
    assert (root.root, root.total, root.metadata_hash) == (
        outcome.publication.root,
        sum(DUE.values()),
        outcome.publication.metadata_hash,
    )
    (attempt,) = outcome.attempts
    assert (attempt.nonce, attempt.hash) == (nonce, outcome.state.transaction)
    assert kinds(owing) == ["publication", "published"]
    assert publisher(owing, world).publish().state.stage == "final"  # asked again, it is what it was
    assert len(tried(owing)) == len(made(owing)) == 1
    assert_sound(owing, world)


def test_until_it_is_final_nothing_is_in_flight(owing: Ledger, world: World) -> None:
    outcome = publisher(owing, world).publish(until="sent")
    world.chain.mine(CONFIRMATIONS - 1)
    assert publisher(owing, world).step().stage == "mined"
    assert stands(owing, "publishing") == DUE
    assert stands(owing, "in_flight") == {}
    world.chain.mine()
    assert publisher(owing, world).step().stage == "final"
    assert outcome.publication.entry == made(owing)[0].entry
    assert stands(owing, "in_flight") == DUE


def test_a_step_intends_and_the_next_one_sends(owing: Ledger, world: World) -> None:
    working = publisher(owing, world)
    assert working.step().stage == "intended"
    assert stands(owing, "publishing") == DUE
    assert tried(owing) == []
    assert working.step().stage == "sent"
    assert len(tried(owing)) == 1


def test_a_dry_run_says_what_it_would_cost_and_changes_nothing(owing: Ledger, world: World) -> None:
    planned = publisher(owing, world).dry_run()
    assert (planned.plan.root_id, planned.plan.total) == (1, sum(DUE.values()))
    assert {one.contributor: one.amount for one in planned.plan.due} == DUE
    assert made(owing) == tried(owing) == []
    outcome = publisher(owing, world).publish()
    receipt = world.node.receipt(outcome.state.transaction or "")
    assert receipt is not None
    assert receipt.gas_used <= planned.gas < 2 * receipt.gas_used
    assert receipt.gas_used * receipt.effective_gas_price <= planned.cost


def test_a_publication_waits_until_the_one_before_is_active_for_good(owing: Ledger, world: World) -> None:
    publisher(owing, world).publish()
    owe(owing, {"alice": 1}, "second")
    world.chain.pass_time(DELAY)
    assert world.contract.is_active(1)
    assert publisher(owing, world).publish().publication.root_id == 1  # its activation is not final yet
    with owing.reading() as session, pytest.raises(PublicationOpenError):
        publications.plan(session, distributor(session), 2)
    assert publisher(owing, world).publish(until="active").state.stage == "active"
    outcome = publisher(owing, world).publish()
    assert outcome.publication.root_id == 2
    assert world.contract.root_of(2).total == sum(DUE.values()) + 1
    assert kinds(owing) == ["publication", "published", "root activated", "publication", "published"]
    assert_sound(owing, world)


def test_where_nothing_is_due_nothing_is_sent(owing: Ledger, world: World) -> None:
    publisher(owing, world).publish()
    world.activate()
    publisher(owing, world).publish(until="active")
    with pytest.raises(NothingDueError):
        publisher(owing, world).publish()
    assert len(tried(owing)) == 1


# What must hold first


def pause(world: World) -> None:
    world.send("guardian", world.contract.address, world.contract.pause_roots(True))


def empty(world: World) -> None:
    """Leave one unit too little in the distributor."""
    sweep = CONTRACT.call("sweep", world.address("owner"), FUNDS - sum(DUE.values()) + 1)
    world.send("owner", world.contract.address, sweep)


def appoint(world: World) -> None:
    world.send("owner", world.contract.address, CONTRACT.call("setPublisher", world.address("alice")))


def impoverish(world: World) -> None:
    world.chain.fund(world.address("publisher"), 10_000)


def replace_code(world: World) -> None:
    code = bytearray(world.node.code(world.contract.address))
    code[100] ^= 1
    world.chain.ask("anvil_setCode", world.contract.address, "0x" + code.hex())  # type: ignore[attr-defined]


def submit_another(world: World) -> None:
    world.submit(1, bytes([9]) * 32, 5)


REFUSALS: dict[str, tuple[Callable[[World], None], type[ChainError], str]] = {
    "paused": (pause, RootsPausedError, "publish again when they go on"),
    "underfunded": (empty, UnderfundedError, "send it 1 more of the token"),
    "another publisher": (appoint, NotThePublisherError, "sign with the key of"),
    "no money for gas": (impoverish, GasMoneyError, "send it some"),
    "other code": (replace_code, WrongContractError, "not the one that this package was built with"),
    "a root that the ledger does not know": (submit_another, UnknownRootError, "root 1 that this ledger did not"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_nothing_is_signed_before_everything_holds(owing: Ledger, world: World, name: str) -> None:
    spoil, error, said = REFUSALS[name]
    spoil(world)
    nonce = world.node.transaction_count(world.address("publisher"))
    with pytest.raises(error, match=said) as caught:
        publisher(owing, world).publish()
    assert "\n" not in str(caught.value)
    assert tried(owing) == []
    assert world.node.transaction_count(world.address("publisher"), "pending") == nonce


@pytest.mark.parametrize("name", REFUSALS)
def test_an_intent_is_not_signed_either_before_everything_holds(owing: Ledger, world: World, name: str) -> None:
    publisher(owing, world).step()
    spoil, error, said = REFUSALS[name]
    spoil(world)
    with pytest.raises(error, match=said):
        publisher(owing, world).publish()
    assert tried(owing) == []
    assert stands(owing, "publishing") == DUE


@pytest.mark.parametrize("what", ["token", "activation_delay", "code_hash"])
def test_a_distributor_that_is_not_what_was_registered_is_not_signed_for(
    owing: Ledger, world: World, what: str
) -> None:
    working = publisher(owing, world)
    others = {"token": world.address("bob"), "activation_delay": DELAY + 1, "code_hash": "0x" + 64 * "0"}
    working.distributor = working.distributor.model_copy(update={what: others[what]})
    with pytest.raises(UnlikeDistributorError, match=f"another {what.replace('_', ' ')} than was registered"):
        working.publish()
    assert tried(owing) == []


def test_a_cap_that_is_too_low_signs_nothing(owing: Ledger, world: World) -> None:
    with pytest.raises(FeeCapError, match="a cap of 5 wei per gas is too low"):
        publisher(owing, world, fee_cap=5).publish()
    assert tried(owing) == []


# On its way


@pytest.fixture
def sent(owing: Ledger, world: World, anvil: Anvil) -> Ledger:
    """Books whose publication has been sent, and waits for a block."""
    anvil.automine(False)
    publisher(owing, world, wait=nothing).publish(until="sent")
    assert anvil.waiting() == [tried(owing)[0].hash]
    return owing


def test_what_is_stuck_below_the_base_fee_is_replaced_at_its_nonce(sent: Ledger, world: World, anvil: Anvil) -> None:
    anvil.set_base_fee(20 * GWEI)
    anvil.mine()  # whose base fee the transaction does not pay
    outcome = publisher(sent, world).publish()
    first, second = outcome.attempts
    assert first.max_fee < 20 * GWEI <= second.max_fee
    assert second.priority_fee >= raised(first.priority_fee)
    assert (first.nonce, first.sender, decode(first.raw)[1]["data"]) == (
        second.nonce,
        second.sender,
        decode(second.raw)[1]["data"],
    )
    assert outcome.state.transaction == second.hash
    assert submissions(world) == [1]
    assert_sound(sent, world)


def test_what_the_next_block_would_not_take_is_replaced_though_the_node_keeps_it(
    sent: Ledger, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.node, "base_fee", lambda: 20 * GWEI)
    for _ in range(2):
        publisher(sent, world).step()
    first, second = tried(sent)
    assert first.max_fee < 20 * GWEI < second.max_fee
    assert (first.nonce, first.purpose) == (second.nonce, second.purpose)


def test_what_waits_too_long_is_replaced_by_an_eighth_more_each_time(sent: Ledger, world: World, anvil: Anvil) -> None:
    working = publisher(sent, world, patience=replace(IMPATIENT, stuck=timedelta()))
    for _ in range(3):
        working.step()
    found = tried(sent)
    assert len(found) == 4
    assert {one.nonce for one in found} == {found[0].nonce}
    for before, after in pairwise(found):
        assert after.max_fee >= raised(before.max_fee)
        assert after.priority_fee >= raised(before.priority_fee)
    assert anvil.waiting() == [found[-1].hash]
    outcome = publisher(sent, world).publish()
    assert outcome.state.transaction == found[-1].hash
    assert submissions(world) == [1]


def test_what_does_not_wait_too_long_is_let_be(sent: Ledger, world: World) -> None:
    for _ in range(3):
        assert publisher(sent, world).step().stage == "sent"
    assert len(tried(sent)) == 1


def test_no_replacement_pays_more_than_the_cap(sent: Ledger, world: World, anvil: Anvil) -> None:
    cap = raised(tried(sent)[0].max_fee)
    working = publisher(sent, world, fee_cap=cap, patience=replace(IMPATIENT, stuck=timedelta()))
    for _ in range(3):
        found = working.step()
    assert "a cap of" in found.detail
    assert [one.max_fee <= cap for one in tried(sent)] == [True, True]
    outcome = publisher(sent, world, fee_cap=cap).publish()
    assert outcome.state.stage == "final"


def test_what_was_dropped_is_sent_again_the_same_bytes(sent: Ledger, world: World, anvil: Anvil) -> None:
    (attempt,) = tried(sent)
    anvil.drop(attempt.hash)
    assert anvil.waiting() == []
    publisher(sent, world).step()
    assert anvil.waiting() == [attempt.hash]
    assert publisher(sent, world).publish().attempts == [attempt]


def test_an_attempt_that_was_replaced_and_mined_all_the_same_is_the_submission(
    sent: Ledger, world: World, anvil: Anvil
) -> None:
    (first,) = tried(sent)
    publisher(sent, world, patience=replace(IMPATIENT, stuck=timedelta())).step()
    anvil.drop_all()
    world.node.send(first.raw)
    anvil.mine()
    outcome = publisher(sent, world).publish()
    assert len(outcome.attempts) == 2
    assert outcome.state.transaction == first.hash
    assert_sound(sent, world)


def test_a_timeout_says_how_far_it_is_and_loses_nothing(sent: Ledger, world: World) -> None:
    with pytest.raises(PublicationPendingError, match=r"root 1 is sent so far.*goes on from there"):
        publisher(sent, world, wait=nothing).publish(timeout=timedelta(seconds=10))
    assert publisher(sent, world).publish().state.stage == "final"


# Nonces


def foreign(world: World, nonce: int) -> bytes:
    """Another transaction of the publisher's key, at a nonce, that pays well."""
    bob, key = world.address("bob"), world.keys["publisher"]
    asked = transaction(
        chain_id=world.contract.chain_id, nonce=nonce, to=bob, data=b"", gas=21_000, fees=Fees(FEE_CAP, 50 * GWEI)
    )
    return key.sign_transaction(asked)


def test_a_nonce_that_another_transaction_took_is_given_up_once_that_is_final(
    sent: Ledger, world: World, anvil: Anvil
) -> None:
    (attempt,) = tried(sent)
    anvil.drop_all()
    world.node.send(foreign(world, attempt.nonce))
    anvil.mine()
    for _ in range(CONFIRMATIONS):
        found = publisher(sent, world).step()
        assert f"another transaction took nonce {attempt.nonce}" in found.detail
        assert len(tried(sent)) == 1
        anvil.mine()
    outcome = publisher(sent, world).publish()
    assert [one.nonce for one in outcome.attempts] == [attempt.nonce, attempt.nonce + 1]
    assert submissions(world) == [1]
    assert_sound(sent, world)


def test_a_transaction_of_another_program_that_waits_is_outbid_or_waited_for(
    owing: Ledger, world: World, anvil: Anvil
) -> None:
    anvil.automine(False)
    nonce = world.node.transaction_count(world.address("publisher"))
    world.node.send(foreign(world, nonce))
    outcome = publisher(owing, world).publish()
    assert {one.nonce for one in outcome.attempts} <= {nonce, nonce + 1}
    assert submissions(world) == [1]
    assert_sound(owing, world)


def test_a_gap_that_a_reorganisation_leaves_is_filled(owing: Ledger, world: World, anvil: Anvil) -> None:
    nonce = world.node.transaction_count(world.address("publisher"))
    anvil.automine(False)
    world.node.send(foreign(world, nonce))
    anvil.mine()
    publisher(owing, world, wait=nothing).publish(until="sent")
    assert [one.nonce for one in tried(owing)] == [nonce + 1]
    anvil.reorganise(1)  # the other transaction is in no block any more, and waits nowhere
    anvil.drop_all()

    def wait() -> None:
        anvil.drop(tried(owing)[0].hash)  # which would be mined after the one that fills the gap, and revert
        anvil.mine()

    outcome = publisher(owing, world, wait=wait).publish()
    left_over, mined = outcome.attempts
    assert [left_over.nonce, mined.nonce] == [nonce + 1, nonce]
    assert outcome.state.transaction == mined.hash
    assert submissions(world) == [1]
    assert_sound(owing, world)
    anvil.drop_all()
    anvil.automine(True)
    world.activate()
    publisher(owing, world).publish(until="active")
    owe(owing, {"bob": 1}, "second")
    (attempt,) = publisher(owing, world).publish().attempts
    assert attempt.nonce == left_over.nonce  # what is over is not sent again, and its nonce is not left open
    assert attempt.max_fee >= raised(left_over.max_fee)
    assert submissions(world) == [1, 2]
    assert_sound(owing, world)


def test_an_attempt_that_is_mined_while_it_is_looked_for_is_no_failure(
    sent: Ledger, world: World, anvil: Anvil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another publisher sends it, and its nonce is used when this one sends it too."""

    def mined_meanwhile(hash: str) -> bool:
        anvil.mine()
        return False

    monkeypatch.setattr(world.node, "knows", mined_meanwhile)
    assert publisher(sent, world).step().stage == "sent"
    monkeypatch.undo()
    assert publisher(sent, world).publish().state.stage == "final"
    assert len(tried(sent)) == 1


def test_a_transaction_that_the_node_knows_is_as_good_as_sent(sent: Ledger, world: World) -> None:
    (attempt,) = tried(sent)
    assert world.node.send(attempt.raw) == "known"
    assert publisher(sent, world).publish().state.stage == "final"


# Reverted


def test_a_submission_that_reverts_is_told_and_made_again_when_it_can_be(
    sent: Ledger, world: World, anvil: Anvil
) -> None:
    anvil.drop_all()
    guardian = world.sign("guardian", world.contract.address, world.contract.pause_roots(True))
    world.node.send(guardian)
    anvil.mine()
    world.node.send(tried(sent)[0].raw)
    anvil.mine()
    with pytest.raises(SubmissionRevertedError, match="paused by the guardian"):
        publisher(sent, world).publish()
    with pytest.raises(RootsPausedError):
        publisher(sent, world).publish()
    assert len(tried(sent)) == 1
    assert stands(sent, "publishing") == DUE
    anvil.automine(True)
    world.send("guardian", world.contract.address, world.contract.pause_roots(False))
    outcome = publisher(sent, world).publish()
    assert [one.nonce - outcome.attempts[0].nonce for one in outcome.attempts] == [0, 1]
    assert submissions(world) == [1]
    assert_sound(sent, world)


def test_an_attempt_that_reverts_because_another_one_made_the_root_is_a_success(
    sent: Ledger, world: World, anvil: Anvil
) -> None:
    publication, (attempt,) = made(sent)[0], tried(sent)
    anvil.drop_all()
    unsaved = world.contract.submit_root(1, publication.root, publication.total, publication.metadata_hash)
    world.node.send(world.sign("publisher", world.contract.address, unsaved, nonce=attempt.nonce))
    anvil.mine()
    outcome = publisher(sent, world).publish()
    assert outcome.state.stage == "final"
    assert outcome.state.transaction != attempt.hash
    assert submissions(world) == [1]
    assert len(outcome.attempts) == 1
    assert_sound(sent, world)


# Cancelled


def test_an_intent_that_nothing_was_signed_for_is_abandoned_at_once(owing: Ledger, world: World) -> None:
    publisher(owing, world).step()
    outcome = publisher(owing, world, wait=nothing).cancel("a wrong settlement")
    assert outcome.state.stage == "abandoned"
    assert stands(owing, "payable") == DUE
    assert stands(owing, "publishing") == {}
    assert publisher(owing, world).publish().publication.root_id == 1
    assert kinds(owing) == ["publication", "publication abandoned", "publication", "published"]
    assert_sound(owing, world)


def test_what_was_sent_is_abandoned_when_what_replaces_it_is_final(sent: Ledger, world: World, anvil: Anvil) -> None:
    seen: list[tuple[str, dict[str, int]]] = []
    outcome = publisher(sent, world, progress=lambda state: seen.append((state.stage, stands(sent, "payable")))).cancel(
        "a wrong settlement"
    )
    first, second = outcome.attempts
    assert (second.purpose, second.nonce) == ("cancel", first.nonce)
    assert (decode(second.raw)[1]["to"], decode(second.raw)[1]["value"]) == (second.sender, 0)
    assert second.max_fee >= raised(first.max_fee)
    assert [stage for stage, _ in seen] == ["cancelling"] * (CONFIRMATIONS + 1) + ["abandoned"]
    assert [payable for stage, payable in seen if stage == "cancelling" and payable] == []
    assert stands(sent, "payable") == DUE
    assert submissions(world) == []
    assert_sound(sent, world)
    assert publisher(sent, world).publish().publication.root_id == 1
    assert_sound(sent, world)


def test_a_cancellation_goes_on_after_a_crash(sent: Ledger, world: World) -> None:
    with pytest.raises(PublicationPendingError):
        publisher(sent, world, wait=nothing).cancel("wrong", timeout=timedelta())
    assert publisher(sent, world).publish().state.stage == "abandoned"
    assert submissions(world) == []
    assert_sound(sent, world)


def test_a_cancellation_that_comes_too_late_publishes(sent: Ledger, world: World, anvil: Anvil) -> None:
    (first,) = tried(sent)
    with pytest.raises(PublicationPendingError):
        publisher(sent, world, wait=nothing).cancel("wrong", timeout=timedelta())
    anvil.drop_all()
    world.node.send(first.raw)
    anvil.mine()
    with pytest.raises(CancellationError, match="let the guardian revoke it"):
        publisher(sent, world).cancel("wrong")
    assert publisher(sent, world).publish().state.stage == "final"
    assert stands(sent, "in_flight") == DUE
    assert_sound(sent, world)


def test_what_reverted_is_abandoned_without_another_transaction(sent: Ledger, world: World, anvil: Anvil) -> None:
    anvil.drop_all()
    world.node.send(world.sign("guardian", world.contract.address, world.contract.pause_roots(True)))
    anvil.mine()
    world.node.send(tried(sent)[0].raw)
    anvil.mine()
    outcome = publisher(sent, world).cancel("paused for good")
    assert outcome.state.stage == "abandoned"
    assert len(outcome.attempts) == 1
    assert_sound(sent, world)


def test_only_the_key_that_signed_can_cancel(sent: Ledger, world: World) -> None:
    with pytest.raises(CancellationError, match="cancel with its key"):
        publisher(sent, world, signer="alice").cancel("wrong")
    assert state(sent) == "intended"


def test_nothing_that_is_not_open_is_cancelled(owing: Ledger, world: World) -> None:
    with pytest.raises(CancellationError, match="no publication is open"):
        publisher(owing, world).cancel("wrong")


# Revoked


def test_what_is_revoked_is_payable_again_and_published_under_the_next_id(owing: Ledger, world: World) -> None:
    publisher(owing, world).publish()
    world.send("guardian", world.contract.address, world.contract.revoke_root(1))
    assert publisher(owing, world).publish(until="active").state.stage == "revoked"
    assert stands(owing, "payable") == DUE
    assert stands(owing, "in_flight") == {}
    outcome = publisher(owing, world).publish()
    assert outcome.publication.root_id == 2
    assert outcome.publication.root == made(owing)[0].root  # the same leaves
    assert stands(owing, "in_flight") == DUE
    assert kinds(owing) == ["publication", "published", "root revoked", "publication", "published"]
    assert_sound(owing, world)


def test_a_root_that_is_revoked_before_it_is_final_is_booked_and_revoked(
    owing: Ledger, world: World, anvil: Anvil
) -> None:
    publisher(owing, world).publish(until="sent")
    anvil.settle()
    world.send("guardian", world.contract.address, world.contract.revoke_root(1))
    assert publisher(owing, world).publish(until="active").state.stage == "revoked"
    assert stands(owing, "payable") == DUE
    assert_sound(owing, world)


# Distributors of one sender


def test_distributors_of_one_sender_share_its_nonces_and_what_is_before_is_sent_too(
    sent: Ledger, world: World, anvil: Anvil
) -> None:
    anvil.drop_all()
    anvil.automine(True)
    other = another(world)
    anvil.automine(False)
    with sent.writing() as session:
        second = register(session, other)
    owe(sent, {"bob": 3}, "second")
    assert publisher(sent, other, distributor_id=second.id, wait=nothing).publish(until="sent").state.stage == "sent"
    first, later = tried(sent)
    assert later.nonce == first.nonce + 1
    assert sorted(anvil.waiting()) == sorted([first.hash, later.hash])  # though the first one had been dropped
    assert publisher(sent, other, distributor_id=second.id).publish().state.stage == "final"
    assert publisher(sent, world, distributor_id=1, wait=nothing).publish().state.stage == "final"
    assert submissions(world) == submissions(other) == [1]
    assert stands(sent, "in_flight") == {**DUE, "bob": DUE["bob"] + 3}
    assert_sound(sent, world, 1)
    assert_sound(sent, other, second.id)


def another(world: World) -> World:
    """Another distributor of the same token, of the same people."""
    roles = [world.address(role) for role in ("owner", "publisher", "guardian")]
    receipt = world.send("owner", None, deployment(world.token.address, *roles, DELAY))
    assert receipt.contract is not None
    made = DistributorContract(world.node, world.contract.chain_id, receipt.contract)
    world.send("owner", world.token.address, world.token.mint(made.address, FUNDS))
    return replace(world, contract=made, first_block=receipt.block_number)
