from __future__ import annotations

import copy
import json
import logging
import pickle
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from ledger.chain import typed_data
from ledger.chain.fees import Fees
from ledger.chain.keys import Keystore
from ledger.chain.transactions import decode, transaction, transaction_hash
from ledger.errors import (
    AddressError,
    ChainError,
    KeystoreError,
    LedgerError,
    TransactionError,
)
from tests.ledger.chain.world import key

PASSWORD = "correct horse battery staple"
WORK = 2**10  # of the key derivation: little, so that the tests are quick
ALICE, BOB = key("alice"), key("bob")

TRANSACTION = transaction(
    chain_id=31_337, nonce=7, to=BOB.address, data=b"\x01\x02", gas=100_000, fees=Fees(3 * 10**9, 10**9), value=5
)
MESSAGE = typed_data.payout_address(
    origin="example.org/ledger", chain_id=1, contributor="alice", address=ALICE.address, nonce=0
)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Keystore]:
    path = tmp_path / "key.json"
    return path, Keystore.make(path, PASSWORD, work=WORK)


def test_a_key_that_was_made_is_opened_by_its_password(made: tuple[Path, Keystore]) -> None:
    path, keystore = made
    opened = Keystore.open(path, PASSWORD)
    assert opened.address == keystore.address
    assert opened.sign_typed_data(MESSAGE) == keystore.sign_typed_data(MESSAGE)


def test_the_file_is_its_owners_alone_and_of_the_format_others_read(made: tuple[Path, Keystore]) -> None:
    path, keystore = made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = json.loads(path.read_text())
    assert (content["version"], content["crypto"]["cipher"], content["crypto"]["kdf"]) == (3, "aes-128-ctr", "scrypt")
    assert Account.from_key(Account.decrypt(content, PASSWORD)).address == keystore.address


def test_the_key_derivation_of_a_new_key_costs_what_geths_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    encrypt = Account.encrypt

    def cheaper(key: bytes, password: str, kdf: str, iterations: int) -> dict[str, Any]:
        asked.update(kdf=kdf, iterations=iterations)
        return encrypt(key, password, kdf="scrypt", iterations=WORK)

    monkeypatch.setattr(Account, "encrypt", cheaper)
    Keystore.make(tmp_path / "key.json", PASSWORD)
    assert asked == {"kdf": "scrypt", "iterations": 262_144}


def test_no_file_is_overwritten(made: tuple[Path, Keystore]) -> None:
    path, _ = made
    before = path.read_bytes()
    with pytest.raises(KeystoreError, match="there is a file already, which is not overwritten"):
        Keystore.make(path, "another", work=WORK)
    assert path.read_bytes() == before


def test_a_key_without_a_password_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="an empty password protects nothing"):
        Keystore.make(tmp_path / "key.json", "", work=WORK)
    assert not (tmp_path / "key.json").exists()


def test_a_key_in_no_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="cannot be written: No such file or directory"):
        Keystore.make(tmp_path / "missing/key.json", PASSWORD, work=WORK)


def test_a_half_written_file_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ledger.chain.keys.os.fsync", full)
    with pytest.raises(KeystoreError, match="cannot be written: No space left on device"):
        Keystore.make(tmp_path / "key.json", PASSWORD, work=WORK)
    assert not (tmp_path / "key.json").exists()


def damaged(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no keystore of version 3": lambda content: content.update(version=4),
    "the keystore is damaged": lambda content: content.pop("crypto"),
    "the keystore is damaged ": lambda content: content["crypto"].update(kdf="rot13"),
    "the keystore is damaged  ": lambda content: content["crypto"]["kdfparams"].update(n="many"),
    "the keystore is damaged   ": lambda content: content["crypto"].update(ciphertext="xyz"),
    "the password is wrong": lambda content: content["crypto"].update(mac="00" * 32),
    "but its key is another's": lambda content: content.update(address=BOB.address[2:]),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_keystore_is_one_sentence(made: tuple[Path, Keystore], reason: str) -> None:
    path, _ = made
    damaged(path, DAMAGES[reason])
    with pytest.raises(KeystoreError, match=reason.strip()):
        Keystore.open(path, PASSWORD)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file"), (b"\xff\xfe", "this is no keystore"), (b"[]", "no keystore of version 3")],
)
def test_what_is_no_keystore_is_one_sentence(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "key.json").write_bytes(content)
    with pytest.raises(KeystoreError, match=reason):
        Keystore.open(tmp_path / "key.json", PASSWORD)


def test_a_signed_transaction_is_the_one_that_was_asked_for() -> None:
    raw = ALICE.sign_transaction(TRANSACTION)
    assert decode(raw) == (ALICE.address, TRANSACTION)
    assert transaction_hash(raw) == "0x" + bytes(ALICE._account.sign_transaction(TRANSACTION).hash).hex()


def test_a_transaction_that_makes_a_contract_has_no_recipient() -> None:
    asked = {**TRANSACTION, "to": None}
    assert decode(ALICE.sign_transaction(asked)) == (ALICE.address, asked)


UNSIGNABLE: list[tuple[dict[str, Any], type[LedgerError]]] = [
    ({**TRANSACTION, "gasPrice": 1}, TransactionError),
    ({**TRANSACTION, "accessList": []}, TransactionError),
    ({**TRANSACTION, "type": 0}, TransactionError),
    ({**TRANSACTION, "nonce": -1}, TransactionError),
    ({**TRANSACTION, "nonce": True}, TransactionError),
    ({**TRANSACTION, "value": 1.0}, TransactionError),
    ({**TRANSACTION, "gas": 2**256}, TransactionError),
    ({**TRANSACTION, "data": "0x"}, TransactionError),
    ({**TRANSACTION, "to": BOB.address.lower()}, AddressError),
    ({**TRANSACTION, "to": "bob.eth"}, AddressError),
    ({name: value for name, value in TRANSACTION.items() if name != "chainId"}, TransactionError),
]


@pytest.mark.parametrize(("asked", "error"), UNSIGNABLE)
def test_nothing_else_is_signed(asked: dict[str, Any], error: type[LedgerError]) -> None:
    with pytest.raises(error):
        ALICE.sign_transaction(asked)


LEGACY = Account.from_key(b"\1" * 32).sign_transaction(
    {"chainId": 1, "nonce": 0, "to": BOB.address, "value": 0, "data": b"", "gas": 21_000, "gasPrice": 1}
)
WITH_LIST = Account.from_key(b"\1" * 32).sign_transaction(
    {**TRANSACTION, "accessList": [{"address": BOB.address, "storageKeys": []}]}
)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "starts with the byte 2"),
        (bytes(LEGACY.raw_transaction), "starts with the byte 2"),
        (b"\x02", "no signed transaction"),
        (b"\x02\xc0", "no signed transaction"),
        (ALICE.sign_transaction(TRANSACTION)[:-1], "no signed transaction"),
        (ALICE.sign_transaction(TRANSACTION) + b"\0", "no signed transaction"),
        (bytes(WITH_LIST.raw_transaction), "access lists are not supported"),
    ],
)
def test_bytes_that_are_no_such_transaction_are_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(TransactionError, match=reason):
        decode(raw)


def key_of(keystore: Keystore) -> bytes:
    return bytes(keystore._account.key)


def shown(thing: object, error: BaseException | None = None) -> str:
    """Everything that Python shows of a thing without being asked for its private parts."""
    texts = [repr(thing), str(thing), f"{thing}", repr([thing]), repr(getattr(thing, "__dict__", ""))]
    if error is not None:
        texts += traceback.format_exception(error)
        texts += [repr(vars(one)) for one in (error, error.__cause__, error.__context__) if one is not None]
    return "\n".join(texts)


def test_neither_key_nor_password_is_shown_written_or_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "key.json"
    keystore = Keystore.make(path, PASSWORD, work=WORK)
    secret = key_of(keystore)
    opened = Keystore.open(path, PASSWORD)
    opened.sign_transaction(TRANSACTION)
    texts = [shown(keystore), shown(opened), path.read_text()]

    def fails(what: Callable[[], object]) -> None:
        with pytest.raises((ChainError, TypeError)) as caught:
            what()
        texts.append(shown(keystore, caught.value))

    fails(lambda: Keystore.open(path, PASSWORD + " and a slip"))
    fails(lambda: Keystore.make(path, PASSWORD, work=WORK))
    fails(lambda: keystore.sign_transaction({**TRANSACTION, "nonce": -1}))
    fails(lambda: keystore.sign_transaction({**TRANSACTION, "gas": 2**255}) and keystore.sign_typed_data({}))
    fails(lambda: pickle.dumps(keystore))
    fails(lambda: copy.copy(keystore))
    fails(lambda: copy.deepcopy({"signer": keystore}))
    damaged(path, lambda content: content["crypto"].update(mac="00" * 32))
    fails(lambda: Keystore.open(path, PASSWORD))
    damaged(path, lambda content: content["crypto"].pop("kdfparams"))
    fails(lambda: Keystore.open(path, PASSWORD))
    Keystore(Account.from_key(secret)).sign_typed_data(MESSAGE)
    texts += [caplog.text, *capfd.readouterr()]

    everything = "\n".join(texts).lower()
    assert keystore.address.lower() in everything
    number = int.from_bytes(secret, "big")
    for form in (secret.hex(), str(number), repr(secret)[2:-1].lower(), str(list(secret))[1:-1], PASSWORD):
        assert form not in everything
