"""Transactions of EIP-1559, the only kind that is signed here: dictionaries before, bytes once they are signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.dynamic_fee_transaction import DynamicFeeTransaction
from eth_keys.constants import SECPK1_N
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes
from rlp.exceptions import RLPException

from ledger.chain.checksum import checksummed
from ledger.chain.fees import Fees
from ledger.errors.chain import TransactionError

Transaction = dict[str, Any]

_NUMBERS = ("chainId", "nonce", "value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
_FIELDS = {"type", "to", "data", *_NUMBERS}


def transaction(
    *, chain_id: int, nonce: int, to: str | None, data: bytes, gas: int, fees: Fees, value: int = 0
) -> Transaction:
    """A transaction, unsigned; without `to` it makes a contract of `data`. Raises AddressError, TransactionError."""
    return checked(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "to": to,
            "value": value,
            "data": data,
            "gas": gas,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.priority_fee,
        }
    )


def checked(given: Mapping[str, Any]) -> Transaction:
    """The transaction with `to` checksummed or None and `data` as bytes.

    Raises AddressError; TransactionError where a field is missing, unknown or no whole number.
    """
    if given.keys() != _FIELDS or given["type"] != 2:
        raise TransactionError(f"a transaction of type 2 has the fields {', '.join(sorted(_FIELDS))} and no others")
    for name in _NUMBERS:
        number = given[name]
        if type(number) is not int or not 0 <= number < 2**256:
            raise TransactionError(f"a transaction's {name} must be a whole number from 0 to 2**256 - 1")
    if not isinstance(given["data"], bytes):
        raise TransactionError("a transaction's data must be bytes")
    return {**given, "to": None if given["to"] is None else checksummed(given["to"]), "data": bytes(given["data"])}


def signable(given: Mapping[str, Any]) -> Transaction:
    """The transaction as eth_account takes it. Raises AddressError, TransactionError."""
    return {name: value for name, value in checked(given).items() if value is not None}


def transaction_hash(raw: bytes) -> str:
    """The hash by which the chain knows a signed transaction, 0x and 64 digits."""
    return "0x" + keccak(raw).hex()


def decode(raw: bytes) -> tuple[str, Transaction]:
    """Who signed a transaction, and what it says. Raises TransactionError where it is none, or has an access list."""
    try:
        if raw[:1] != b"\x02":
            raise TransactionError("a signed transaction of type 2 starts with the byte 2")
        found = DynamicFeeTransaction.from_bytes(HexBytes(raw)).dictionary
        sender = str(Account.recover_transaction(raw))
    except (RLPException, BadSignature, ValidationError, ValueError, TypeError) as error:
        raise TransactionError("these bytes are no signed transaction") from error
    if not 0 < _number(found["s"]) <= SECPK1_N // 2:
        raise TransactionError("the transaction's signature is not in the lower half of the curve (EIP-2)")
    if found["accessList"]:
        raise TransactionError("transactions with access lists are not supported")
    to = bytes(HexBytes(found["to"]))
    unsigned: Transaction = {name: _number(found[name]) for name in _NUMBERS}
    unsigned |= {"type": 2, "to": to_checksum_address(to) if to else None, "data": bytes(HexBytes(found["data"]))}
    return sender, unsigned


def _number(found: Any) -> int:
    return found if isinstance(found, int) else int.from_bytes(HexBytes(found), "big")
