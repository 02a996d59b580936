from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys.constants import SECPK1_N
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain import typed_data
from ledger.chain.checksum import with_checksum
from ledger.chain.merkle import Tree
from ledger.errors import AddressError, RevertedError, TypedDataError
from tests.ledger.chain.world import World, key

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: with_checksum(raw.hex()))
numbers = st.integers(0, 2**256 - 1)
names = st.text(max_size=40)


def word(value: int | str) -> bytes:
    """A number, or an address, as 32 bytes."""
    return (value if isinstance(value, int) else int(value, 16)).to_bytes(32, "big")


def digest_by_hand(domain: bytes, type_text: str, *words: bytes) -> bytes:
    """EIP-712, written down from its text: it shares no code with what is tested."""
    return keccak(b"\x19\x01" + domain + keccak(keccak(text=type_text) + b"".join(words)))


def ledgers_domain(chain_id: int) -> bytes:
    type_text = "EIP712Domain(string name,string version,uint256 chainId)"
    return keccak(keccak(text=type_text) + keccak(text="ghostledger") + keccak(text="1") + word(chain_id))


def contracts_domain(chain_id: int, distributor: str) -> bytes:
    type_text = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    return keccak(
        keccak(text=type_text)
        + keccak(text="GhostledgerDistributor")
        + keccak(text="1")
        + word(chain_id)
        + word(distributor)
    )


def by_another_library(message: dict[str, Any]) -> bytes:
    encoded = encode_typed_data(full_message=json.loads(json.dumps(message)))
    return keccak(b"\x19" + encoded.version + encoded.header + encoded.body)


@given(names, numbers, names, addresses, numbers)
def test_a_payout_address_is_signed_as_eip_712_says(
    origin: str, chain: int, contributor: str, address: str, nonce: int
) -> None:
    message = typed_data.payout_address(
        origin=origin, chain_id=chain, contributor=contributor, address=address, nonce=nonce
    )
    type_text = "PayoutAddress(string ledger,string contributor,address account,uint256 nonce)"
    words = keccak(text=origin), keccak(text=contributor), word(address), word(nonce)
    assert typed_data.digest(message) == digest_by_hand(ledgers_domain(chain), type_text, *words)
    assert typed_data.digest(message) == by_another_library(message)


@given(names, numbers, names, addresses, addresses, numbers)
def test_a_change_of_address_is_signed_as_eip_712_says(
    origin: str, chain: int, contributor: str, old: str, new: str, nonce: int
) -> None:
    message = typed_data.address_change(
        origin=origin, chain_id=chain, contributor=contributor, old=old, new=new, nonce=nonce
    )
    type_text = "AddressChange(string ledger,string contributor,address oldAccount,address newAccount,uint256 nonce)"
    words = keccak(text=origin), keccak(text=contributor), word(old), word(new), word(nonce)
    assert typed_data.digest(message) == digest_by_hand(ledgers_domain(chain), type_text, *words)
    assert typed_data.digest(message) == by_another_library(message)


@given(numbers, addresses, addresses, addresses, st.tuples(numbers, numbers, numbers, numbers))
def test_a_claim_to_another_address_is_signed_as_eip_712_says(
    chain: int, distributor: str, account: str, to: str, values: tuple[int, int, int, int]
) -> None:
    root_id, cumulative, nonce, deadline = values
    message = typed_data.claim_to(
        chain_id=chain,
        distributor=distributor,
        account=account,
        to=to,
        root_id=root_id,
        cumulative=cumulative,
        nonce=nonce,
        deadline=deadline,
    )
    type_text = "ClaimTo(address account,address to,uint256 id,uint256 cumulativeAmount,uint256 nonce,uint256 deadline)"
    domain = contracts_domain(chain, distributor)
    assert typed_data.digest(message) == digest_by_hand(domain, type_text, word(account), word(to), *map(word, values))
    assert typed_data.digest(message) == by_another_library(message)
    assert typed_data.domain_separator(chain, distributor) == domain


def test_the_contract_has_the_same_domain(world: World) -> None:
    answer = world.node.call(world.contract.address, keccak(text="domainSeparator()")[:4])
    assert answer == typed_data.domain_separator(world.chain_id, world.contract.address)


def test_the_contract_pays_elsewhere_by_the_signature_of_the_account_alone(world: World) -> None:
    contract, alice, bob = world.contract, world.address("alice"), world.address("bob")
    tree = Tree(world.chain_id, contract.address, [(alice, 50), (bob, 60)])
    world.submit(1, tree.root, tree.total)
    world.activate()
    to, deadline = world.address("carol"), world.node.block().timestamp + 600  # type: ignore[union-attr]
    message = typed_data.claim_to(
        chain_id=world.chain_id,
        distributor=contract.address,
        account=alice,
        to=to,
        root_id=1,
        cumulative=50,
        nonce=contract.nonces(alice),
        deadline=deadline,
    )
    for who in ("bob", "alice"):
        signature = world.keys[who].sign_typed_data(message)
        data = contract.claim_to_with_signature(1, alice, 50, tree.proof(alice), to, deadline, signature)
        if who == "bob":
            with pytest.raises(RevertedError, match=f"the signature is not one of {alice}"):
                world.node.call(contract.address, data)
    world.send("bob", contract.address, data)
    assert world.token.balance_of(to) == 50
    assert contract.nonces(alice) == 1
    with pytest.raises(RevertedError, match="the signature is not one of"):
        world.node.call(contract.address, data)


MESSAGE = typed_data.payout_address(
    origin="example.org/ledger", chain_id=1, contributor="alice", address=key("alice").address, nonce=0
)
SIGNATURE = key("alice").sign_typed_data(MESSAGE)


def test_who_signed_is_recovered() -> None:
    assert len(SIGNATURE) == 65
    assert typed_data.recover(MESSAGE, SIGNATURE) == key("alice").address


@pytest.mark.parametrize(
    ("field", "value"),
    [("ledger", "example.org/other"), ("contributor", "bob"), ("account", key("bob").address), ("nonce", "1")],
)
def test_a_signature_is_for_one_message(field: str, value: str) -> None:
    other = {**MESSAGE, "message": {**MESSAGE["message"], field: value}}
    assert typed_data.recover(other, SIGNATURE) != key("alice").address


def test_a_signature_is_for_one_chain() -> None:
    other = {**MESSAGE, "domain": {**MESSAGE["domain"], "chainId": 10}}
    assert typed_data.recover(other, SIGNATURE) != key("alice").address


def high_s(signature: bytes) -> bytes:
    """The other signature of the same message by the same key, which eth_account takes too."""
    s = SECPK1_N - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([27 + 28 - signature[64]])


def test_a_second_signature_like_the_first_is_refused() -> None:
    second = high_s(SIGNATURE)
    encoded = encode_typed_data(full_message=MESSAGE)
    assert Account.recover_message(encoded, signature=second) == key("alice").address
    with pytest.raises(TypedDataError, match="not in the lower half"):
        typed_data.recover(MESSAGE, second)


MALFORMED = {
    "has 65 bytes, and not 64": SIGNATURE[:64],  # the compact form of EIP-2098
    "has 65 bytes, and not 66": SIGNATURE + b"\0",
    "has 65 bytes, and not 0": b"",
    "last byte is 0": SIGNATURE[:64] + b"\0",
    "last byte is 29": SIGNATURE[:64] + bytes([29]),
    "not in the lower half": SIGNATURE[:32] + bytes(32) + SIGNATURE[64:],
    "is nobody's": bytes(32) + SIGNATURE[32:],
    "nobody's": b"\xff" * 32 + SIGNATURE[32:],
}


@pytest.mark.parametrize("reason", MALFORMED)
def test_a_malformed_signature_is_refused(reason: str) -> None:
    with pytest.raises(TypedDataError, match=reason):
        typed_data.recover(MESSAGE, MALFORMED[reason])


@given(st.binary(min_size=32, max_size=32), st.integers(1, SECPK1_N // 2), st.sampled_from((27, 28)))
def test_any_bytes_are_a_signature_of_somebody_else_or_refused(r: bytes, s: int, v: int) -> None:
    with contextlib.suppress(TypedDataError):
        assert typed_data.recover(MESSAGE, r + word(s) + bytes([v])) != key("alice").address


@pytest.mark.parametrize(
    "message", [{}, {"types": {}}, {**MESSAGE, "primaryType": "Other"}, {**MESSAGE, "message": {}}]
)
def test_what_is_no_typed_data_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(TypedDataError, match="no typed data of EIP-712"):
        typed_data.digest(message)


def test_a_message_is_plain_json_and_loses_no_digit_in_javascript() -> None:
    message = typed_data.claim_to(
        chain_id=1,
        distributor=key("a").address,
        account=key("b").address,
        to=key("c").address,
        root_id=1,
        cumulative=2**255 + 1,
        nonce=0,
        deadline=2**64,
    )
    assert message["message"]["cumulativeAmount"] == str(2**255 + 1)
    assert all(isinstance(value, str) for value in message["message"].values())


def test_an_address_in_a_message_has_its_checksum() -> None:
    with pytest.raises(AddressError):
        typed_data.payout_address(origin="o", chain_id=1, contributor="c", address="alice.eth", nonce=0)
