"""Where contributors are paid: proved by signatures, changed with approval and delay, and nobody else's."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session

from ledger import registry
from ledger.audit import audit
from ledger.chain.addresses import DEFAULT_DELAY, Check, address_of, history, set_address, to_sign
from ledger.chain.operators import add_operator, operators, remove_operator
from ledger.database import Ledger
from ledger.errors import AddressError, LedgerError, OperatorError, PayoutAddressError
from ledger.statement import statement
from tests.ledger.on_chain import CHAIN_ID, contract, distribute, key, later, pay_to

DAY = timedelta(days=1)


@pytest.fixture
def session(staffed: Ledger) -> Any:
    with staffed.writing() as opened:
        yield opened


@pytest.fixture
def file_session(staffed_file: Ledger) -> Any:
    with staffed_file.writing() as opened:
        yield opened


def now(session: Session, who: str = "alice") -> str | None:
    return address_of(session, who, CHAIN_ID)


def test_the_first_address_is_in_force_at_once(session: Session) -> None:
    made = pay_to(session, "alice")
    assert now(session) == key("alice").address == made.address
    assert address_of(session, "alice", CHAIN_ID, "2026-01-01") is None
    assert address_of(session, "alice", 1) is None
    assert pay_to(session, "alice") is made
    assert audit(session).ok


def test_a_change_waits_for_its_delay_and_a_later_one_replaces_it(session: Session) -> None:
    pay_to(session, "alice")
    pay_to(session, "alice", "second", approved_by=["alice"])
    later(session, timedelta(days=6))
    assert now(session) == key("alice").address
    states = [one.state for one in statement(session, "alice").on_chains.addresses]
    assert states == ["in force", "pending"]
    third = pay_to(session, "alice", "third", approved_by=["alice"], delay=2 * DAY)
    assert third.nonce == 2
    later(session, DAY)
    assert now(session) == key("alice").address, "the second would be in force by now, had it not been replaced"
    later(session, 2 * DAY)
    assert now(session) == key("third").address
    states = [one.state for one in statement(session, "alice").on_chains.addresses]
    assert states == ["former", "replaced", "in force"]
    assert audit(session).ok


def test_a_pending_change_is_called_off_by_the_address_in_force(file_session: Session) -> None:
    session = file_session
    pay_to(session, "alice")
    pay_to(session, "alice", "thief", approved_by=["alice"])
    pay_to(session, "alice", approved_by=["alice"])
    later(session, 30 * DAY)
    assert now(session) == key("alice").address
    assert audit(session).ok


def test_two_different_operators_replace_an_address_whose_key_is_lost(session: Session) -> None:
    for name in ("ann", "ben"):
        add_operator(session, name, key(name).address)
    pay_to(session, "alice")
    pay_to(session, "alice", "new", approved_by=["ben", "ann"])
    later(session, DEFAULT_DELAY)
    assert now(session) == key("new").address
    assert audit(session).ok


REFUSED_CHANGES: list[tuple[str, list[str], str]] = [
    ("nobody approves", [], "two|2 different"),
    ("one operator", ["ann"], "2 different"),
    ("one operator twice", ["ann", "ann"], "2 different"),
    ("an operator who was removed", ["ann", "eve"], "neither of the old key nor of an operator"),
    ("a stranger beside the old key", ["alice", "stranger"], "neither of the old key nor of an operator"),
    ("the new key only", ["new"], "neither of the old key nor of an operator"),
]


@pytest.mark.parametrize(
    ("approved_by", "words"), [one[1:] for one in REFUSED_CHANGES], ids=[one[0] for one in REFUSED_CHANGES]
)
def test_a_change_that_is_not_approved_is_refused(file_session: Session, approved_by: list[str], words: str) -> None:
    for name in ("ann", "ben", "eve"):
        add_operator(file_session, name, key(name).address)
    remove_operator(file_session, "eve")
    pay_to(file_session, "alice")
    with pytest.raises(PayoutAddressError, match=words):
        pay_to(file_session, "alice", "new", approved_by=approved_by)
    assert len(history(file_session, "alice", CHAIN_ID)) == 1


def test_an_approval_counts_for_one_change_only(file_session: Session) -> None:
    """The nonce is signed, so that what approved a change that was replaced does not approve it again."""
    session = file_session
    pay_to(session, "alice")
    first = to_sign(session, contributor="alice", chain_id=CHAIN_ID, address=key("new").address)
    assert first.change is not None
    approval = key("alice").sign_typed_data(first.change)
    pay_to(session, "alice", "new", approved_by=["alice"])
    pay_to(session, "alice", approved_by=["alice"])
    asked = to_sign(session, contributor="alice", chain_id=CHAIN_ID, address=key("new").address)
    with pytest.raises(PayoutAddressError, match="neither of the old key"):
        set_address(
            session,
            contributor="alice",
            chain_id=CHAIN_ID,
            address=key("new").address,
            signature=key("new").sign_typed_data(asked.ownership),
            approvals=[approval],
        )


def test_a_change_that_is_too_fast_is_refused(file_session: Session) -> None:
    pay_to(file_session, "alice")
    for delay in (timedelta(), timedelta(hours=23), timedelta(days=1, microseconds=1)):
        with pytest.raises(PayoutAddressError, match="1 day or more"):
            pay_to(file_session, "alice", "new", approved_by=["alice"], delay=delay)


def test_an_address_needs_its_own_keys_signature_for_this_ledger_chain_and_contributor(file_session: Session) -> None:
    session = file_session
    with pytest.raises(PayoutAddressError, match="signed, if the message was"):
        pay_to(session, "alice", signed_by="bob")
    for other in ({"contributor": "bob"}, {"chain_id": 1}):
        said = {"contributor": "alice", "chain_id": CHAIN_ID, "address": key("alice").address}
        asked = to_sign(session, **{**said, **other})  # type: ignore[arg-type]
        signature = key("alice").sign_typed_data(asked.ownership)
        with pytest.raises(PayoutAddressError, match="signed, if the message was"):
            set_address(session, signature=signature, **said)  # type: ignore[arg-type]
    with pytest.raises(PayoutAddressError, match="65 bytes"):
        set_address(session, signature=b"short", **said)  # type: ignore[arg-type]


def test_an_address_belongs_to_one_contributor_for_ever(session: Session) -> None:
    pay_to(session, "alice")
    pay_to(session, "alice", "new", approved_by=["alice"])
    later(session, DEFAULT_DELAY)
    for whose in ("alice", "new"):
        with pytest.raises(PayoutAddressError, match="belongs to 'alice' for ever"):
            pay_to(session, "bob", whose)
    pay_to(session, "alice", approved_by=["new"])
    later(session, DEFAULT_DELAY)
    assert now(session) == key("alice").address, "one's own former address may be taken again"
    assert audit(session).ok


WRONG_ADDRESSES = [
    ("ens", "alice.eth", "0x and 40 hexadecimal digits"),
    ("short", "0x12", "0x and 40 hexadecimal digits"),
    ("no checksum", key("alice").address.lower(), f"it is {key('alice').address}"),
    ("wrong checksum", key("alice").address.swapcase().replace("X", "x"), "checksum fails"),
    ("zero", "0x" + "0" * 40, "zero address is lost"),
    ("the distributor", contract("distributor"), "a distributor"),
    ("the token", contract("token of distributor"), "its token"),
]


@pytest.mark.parametrize(
    ("address", "words"), [one[1:] for one in WRONG_ADDRESSES], ids=[one[0] for one in WRONG_ADDRESSES]
)
def test_what_cannot_be_paid_is_no_payout_address(file_session: Session, address: str, words: str) -> None:
    distribute(file_session)
    with pytest.raises((AddressError, PayoutAddressError), match=words):
        set_address(file_session, contributor="alice", chain_id=CHAIN_ID, address=address, signature=bytes(65))


def test_a_contract_wallet_is_asked_on_its_chain(file_session: Session) -> None:
    """EIP-1271: whoever has a node says whether the contract signed."""
    session, wallet = file_session, contract("wallet")
    asked: list[tuple[str, bytes]] = []

    def signs(address: str, digest: bytes, signature: bytes) -> bool:
        asked.append((address, digest))
        return signature == b"by its owners"

    def give(address: str, signature: bytes, check: Check | None = signs, **more: Any) -> None:
        set_address(
            session,
            contributor="alice",
            chain_id=CHAIN_ID,
            address=address,
            signature=signature,
            check=check,
            **more,
        )

    with pytest.raises(PayoutAddressError, match="give a node"):
        give(wallet, b"by its owners", None, contract_wallet=True)
    with pytest.raises(PayoutAddressError, match="did not sign"):
        give(wallet, b"by somebody", contract_wallet=True)
    give(wallet, b"by its owners", contract_wallet=True)
    change = to_sign(session, contributor="alice", chain_id=CHAIN_ID, address=key("alice").address)
    own = key("alice").sign_typed_data(change.ownership)
    with pytest.raises(PayoutAddressError, match="neither of the old key"):
        give(key("alice").address, own, approvals=[b"by somebody"])
    give(key("alice").address, own, approvals=[b"by its owners"])
    assert {address for address, _ in asked} == {wallet}
    later(session, DEFAULT_DELAY)
    assert now(session) == key("alice").address
    assert audit(session).ok


def test_operators_have_one_address_each_and_no_two_the_same(session: Session) -> None:
    made = add_operator(session, "ann", key("ann").address)
    assert add_operator(session, "ann", key("ann").address) is made
    for name, whose in (("ann", "ben"), ("ben", "ann")):
        with pytest.raises(OperatorError, match="address"):
            add_operator(session, name, key(whose).address)
    gone = remove_operator(session, "ann")
    assert remove_operator(session, "ann") is gone
    add_operator(session, "ben", key("ann").address)
    assert operators(session) == {"ben": key("ann").address}
    with pytest.raises(OperatorError, match="none of this name"):
        remove_operator(session, "eve")
    assert audit(session).ok


def test_a_payout_address_is_no_distributor_later(file_session: Session) -> None:
    session = file_session
    set_address(
        session,
        contributor="alice",
        chain_id=CHAIN_ID,
        address=contract("distributor"),
        signature=b"",
        contract_wallet=True,
        check=lambda *_: True,
    )
    with pytest.raises(LedgerError, match="payout address of 'alice'"):
        distribute(session)


def test_unknown_contributors_have_no_address(file_session: Session) -> None:
    with pytest.raises(LedgerError, match="not registered"):
        pay_to(file_session, "nobody")
    assert registry.contributors(file_session)
