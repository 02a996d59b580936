from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rlp
from eth_account.typed_transactions.dynamic_fee_transaction import DynamicFeeTransaction
from eth_keys.constants import SECPK1_N
from hexbytes import HexBytes

from ledger.chain.keys import ExternalSigner, Keystore
from ledger.errors import AddressError, ExternalSignerError, NodeUrlError, TransactionError, TypedDataError
from tests.ledger.chain import fake_rpc
from tests.ledger.chain.fake_rpc import FakeRpc, RpcError
from tests.ledger.chain.test_keys import ALICE, BOB, MESSAGE, TRANSACTION


@pytest.fixture
def fake() -> Iterator[FakeRpc]:
    with fake_rpc.running() as server:
        yield server


def signs(keystore: Keystore, **changes: Any) -> Callable[..., str]:
    """What a signer answers that changes a transaction before it signs it."""

    def answer(asked: dict[str, str]) -> str:
        given = {name: int(value, 16) for name, value in asked.items() if name not in ("from", "to", "data")}
        given |= {"to": asked.get("to"), "data": bytes.fromhex(asked["data"][2:])}  # type: ignore[dict-item]
        return "0x" + keystore.sign_transaction({**given, **changes}).hex()

    return answer


def test_an_external_signer_signs(fake: FakeRpc) -> None:
    fake.answers["eth_signTransaction"] = signs(ALICE)
    fake.answers["eth_signTypedData_v4"] = lambda address, message: "0x" + ALICE.sign_typed_data(message).hex()
    signer = ExternalSigner(fake.url, ALICE.address)
    assert signer.sign_transaction(TRANSACTION) == ALICE.sign_transaction(TRANSACTION)
    assert signer.sign_typed_data(MESSAGE) == ALICE.sign_typed_data(MESSAGE)
    assert [params[0]["from"] for method, params in fake.asked if method == "eth_signTransaction"] == [ALICE.address]


def test_an_external_signer_may_answer_as_geth_and_clef_do(fake: FakeRpc) -> None:
    fake.answers["eth_signTransaction"] = lambda asked: {"raw": signs(ALICE)(asked), "tx": asked}
    asked = {**TRANSACTION, "to": None}
    assert ExternalSigner(fake.url, ALICE.address).sign_transaction(asked) == ALICE.sign_transaction(asked)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"to": ALICE.address}, "to"),
    ({"to": None}, "to"),
    ({"data": b""}, "data"),
    ({"value": 6}, "value"),
    ({"nonce": 8}, "nonce"),
    ({"chainId": 1}, "chainId"),
    ({"gas": 100_001}, "gas"),
    ({"maxFeePerGas": 10**12}, "maxFeePerGas"),
    ({"maxPriorityFeePerGas": 0, "value": 0}, "maxPriorityFeePerGas, value"),
]


@pytest.mark.parametrize(("changes", "named"), CHANGES, ids=[named for _, named in CHANGES])
def test_another_transaction_than_was_asked_for_is_refused(fake: FakeRpc, changes: dict[str, Any], named: str) -> None:
    fake.answers["eth_signTransaction"] = signs(ALICE, **changes)
    with pytest.raises(ExternalSignerError, match=f"another transaction than it was asked to: {named} differ"):
        ExternalSigner(fake.url, ALICE.address).sign_transaction(TRANSACTION)


def test_a_signature_by_another_key_is_refused(fake: FakeRpc) -> None:
    fake.answers["eth_signTransaction"] = signs(BOB)
    fake.answers["eth_signTypedData_v4"] = lambda address, message: "0x" + BOB.sign_typed_data(message).hex()
    signer = ExternalSigner(fake.url, ALICE.address)
    with pytest.raises(ExternalSignerError, match=f"signed with the key of {BOB.address}, and not of {ALICE.address}"):
        signer.sign_transaction(TRANSACTION)
    with pytest.raises(ExternalSignerError, match="signed another message, or with the key of another"):
        signer.sign_typed_data(MESSAGE)


def high_s(asked: dict[str, str]) -> str:
    """A transaction signed with an s that nodes refuse since EIP-2, though the sender recovers from it."""
    signed = DynamicFeeTransaction.from_bytes(HexBytes(signs(ALICE)(asked)))
    fields = signed.dictionary
    s = int.from_bytes(HexBytes(fields["s"]), "big")
    fields |= {"s": SECPK1_N - s, "v": 1 - int.from_bytes(HexBytes(fields["v"]), "big")}
    serializer = DynamicFeeTransaction._signed_transaction_serializer
    values = {name: fields[name] for name, _ in serializer._meta.fields}
    return "0x02" + rlp.encode(serializer(**{**values, "accessList": []})).hex()


NO_SIGNATURES: list[tuple[str, Any, str]] = [
    ("eth_signTransaction", "0x", "no usable transaction"),
    ("eth_signTransaction", "0xzz", "not hexadecimal"),
    ("eth_signTransaction", None, "not hexadecimal"),
    ("eth_signTransaction", {"tx": {}}, "not hexadecimal"),
    ("eth_signTransaction", "0x02c0", "no usable transaction"),
    ("eth_signTransaction", high_s, "not in the lower half"),
    ("eth_signTypedData_v4", "0x", "no usable signature"),
    ("eth_signTypedData_v4", "0x" + "11" * 65, "no usable signature"),
]


@pytest.mark.parametrize(("method", "answer", "reason"), NO_SIGNATURES)
def test_what_is_no_signature_is_refused(fake: FakeRpc, method: str, answer: Any, reason: str) -> None:
    fake.answers[method] = answer
    signer = ExternalSigner(fake.url, ALICE.address)
    with pytest.raises(ExternalSignerError, match=reason):
        signer.sign_transaction(TRANSACTION) if method == "eth_signTransaction" else signer.sign_typed_data(MESSAGE)


def test_a_signer_that_refuses_is_quoted(fake: FakeRpc) -> None:
    def refuse(*_: object) -> None:
        raise RpcError(code=-32000, message="Request denied")

    fake.answers["eth_signTransaction"] = refuse
    with pytest.raises(ExternalSignerError, match=r"signer at http://127\.0\.0\.1:\d+ did not sign: .*Request denied"):
        ExternalSigner(fake.url, ALICE.address).sign_transaction(TRANSACTION)


def test_what_must_not_be_signed_is_not_even_sent(fake: FakeRpc) -> None:
    signer = ExternalSigner(fake.url, ALICE.address)
    with pytest.raises(TransactionError):
        signer.sign_transaction({**TRANSACTION, "type": 0})
    with pytest.raises(TypedDataError):
        signer.sign_typed_data({})
    assert fake.asked == []


def test_a_signers_url_and_address_are_checked_and_its_secrets_not_shown() -> None:
    with pytest.raises(AddressError):
        ExternalSigner("http://127.0.0.1:1", ALICE.address.lower())
    with pytest.raises(NodeUrlError) as caught:
        ExternalSigner("ftp://user:hunter2@host/", ALICE.address)
    signer = ExternalSigner("http://user:hunter2@127.0.0.1:1/hunter2?key=hunter2", ALICE.address, timeout=1)
    with pytest.raises(ExternalSignerError, match=r"the signer at http://127\.0\.0\.1:1 did not sign") as unreachable:
        signer.sign_transaction(TRANSACTION)
    for error in (caught.value, unreachable.value):
        assert "hunter2" not in str(error) + repr(error) + repr(signer)
