"""Who signs: an encrypted keystore file (Web3 secret storage, version 3), or an external signer by its URL.

A key is in memory only, in an object that shows its address and nothing else. What an external signer returns is
decoded and compared with what was asked, and its sender recovered, before anything is done with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount

from ledger.chain import transactions, typed_data
from ledger.chain.checksum import checksummed, same_address
from ledger.chain.rpc import Endpoint
from ledger.errors.chain import ExternalSignerError, KeystoreError, NodeError, TransactionError, TypedDataError

_WORK = 2**18  # scrypt's N, as geth's: about a second, 256 MB


class Signer(Protocol):
    """Whatever signs for one address."""

    @property
    def address(self) -> str:
        """The checksummed address."""

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """The signed transaction, ready to be sent."""

    def sign_typed_data(self, message: dict[str, Any]) -> bytes:
        """The signature of an EIP-712 message, 65 bytes."""


class Keystore:
    """A signer whose key is kept in an encrypted file."""

    __slots__ = ("_account",)

    def __init__(self, account: LocalAccount) -> None:
        self._account = account

    @classmethod
    def make(cls, path: str | Path, password: str, *, work: int = _WORK) -> Keystore:
        """Make a new key and write it to a new file that only its owner may read; `work` is scrypt's N.

        Raises KeystoreError where the file exists or cannot be written, or the password is empty.
        """
        if not password:
            raise KeystoreError(str(path), "an empty password protects nothing, choose another")
        account = Account.create()
        text = json.dumps(Account.encrypt(account.key, password, kdf="scrypt", iterations=work))
        _write_new(Path(path), text)
        return cls(account)

    @classmethod
    def throwaway(cls) -> Keystore:
        """A new key that is in no file and ends with this object: for demonstrations."""
        return cls(Account.create())

    @classmethod
    def open(cls, path: str | Path, password: str) -> Keystore:
        """Read a file and decrypt its key. Raises KeystoreError: there is none, or the password is wrong."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise KeystoreError(str(path), f"the keystore cannot be read: {error.strerror}") from error
        except ValueError:
            raise KeystoreError(str(path), "this is no keystore") from None
        if not isinstance(content, dict) or content.get("version") != 3:
            raise KeystoreError(str(path), "this is no keystore of version 3 (Web3 secret storage)")
        # The causes are left out: a library's message may one day quote what it was given.
        try:
            account = Account.from_key(Account.decrypt(content, password))
        except ValueError as error:
            wrong = "MAC mismatch" in str(error)
            raise KeystoreError(str(path), "the password is wrong" if wrong else "the keystore is damaged") from None
        except (KeyError, TypeError, AttributeError):
            raise KeystoreError(str(path), "the keystore is damaged") from None
        named = str(content.get("address", account.address)).removeprefix("0x")
        if not same_address("0x" + named, account.address):
            raise KeystoreError(str(path), f"the keystore names the address 0x{named}, but its key is another's")
        return cls(account)

    @property
    def address(self) -> str:
        """The checksummed address."""
        return str(self._account.address)

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """The signed transaction. Raises AddressError, TransactionError."""
        return bytes(self._account.sign_transaction(transactions.signable(transaction)).raw_transaction)

    def sign_typed_data(self, message: dict[str, Any]) -> bytes:
        """The signature of an EIP-712 message, 65 bytes. Raises TypedDataError."""
        return bytes(self._account.sign_message(typed_data.signable(message)).signature)

    def __repr__(self) -> str:
        return f"Keystore({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not to be copied or written by pickle")


class ExternalSigner:
    """A program elsewhere that holds the key and signs by eth_signTransaction and eth_signTypedData_v4."""

    def __init__(self, url: str, address: str, *, timeout: float = 60.0) -> None:
        """`timeout` is in seconds; a person may have to agree. Raises AddressError, NodeUrlError."""
        self._endpoint = Endpoint(url, timeout=timeout)
        self._address = checksummed(address)

    @property
    def address(self) -> str:
        """The checksummed address."""
        return self._address

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """The signed transaction. Raises AddressError, TransactionError; ExternalSignerError."""
        wanted = transactions.checked(transaction)
        answer = self._ask("eth_signTransaction", [_as_json(wanted, self._address)])
        raw = self._bytes(answer.get("raw") if isinstance(answer, dict) else answer)
        try:
            sender, signed = transactions.decode(raw)
        except TransactionError as error:
            raise self._error(f"returns no usable transaction: {error}") from error
        changed = sorted(name for name in wanted if wanted[name] != signed[name])
        if changed:
            raise self._error(f"signed another transaction than it was asked to: {', '.join(changed)} differ")
        if sender != self._address:
            raise self._error(f"signed with the key of {sender}, and not of {self._address}")
        return raw

    def sign_typed_data(self, message: dict[str, Any]) -> bytes:
        """The signature of an EIP-712 message, 65 bytes. Raises TypedDataError; ExternalSignerError."""
        typed_data.signable(message)
        signature = self._bytes(self._ask("eth_signTypedData_v4", [self._address, message]))
        try:
            sender = typed_data.recover(message, signature)
        except TypedDataError as error:
            raise self._error(f"returns no usable signature: {error}") from error
        if sender != self._address:
            raise self._error(f"signed another message, or with the key of another than {self._address}")
        return signature

    def __repr__(self) -> str:
        return f"ExternalSigner({self._endpoint.name!r}, {self._address})"

    def _ask(self, method: str, params: list[object]) -> object:
        try:
            return self._endpoint.ask(method, params)
        except NodeError as error:
            raise self._error(f"did not sign: {error}") from error

    def _bytes(self, answer: object) -> bytes:
        try:
            return bytes.fromhex(str(answer).removeprefix("0x"))
        except ValueError as error:
            raise self._error("returns something that is not hexadecimal") from error

    def _error(self, reason: str) -> ExternalSignerError:
        return ExternalSignerError(self._endpoint.name, reason)


def _as_json(transaction: Mapping[str, Any], sender: str) -> dict[str, str]:
    asked = {name: hex(value) for name, value in transaction.items() if isinstance(value, int)}
    asked |= {"from": sender, "data": "0x" + transaction["data"].hex()}
    if transaction["to"] is not None:
        asked["to"] = transaction["to"]
    return asked


def _write_new(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeystoreError(str(path), "there is a file already, which is not overwritten") from error
    except OSError as error:
        raise KeystoreError(str(path), f"the keystore cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeystoreError(str(path), f"the keystore cannot be written: {error.strerror}") from error
