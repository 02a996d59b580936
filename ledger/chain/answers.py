"""What nodes answer, as values: blocks, logs and receipts read strictly from JSON (execution API specification)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address


@dataclass(frozen=True)
class Block:
    """A block's header, and the hashes of its transactions; the base fee in wei per gas, the time in seconds."""

    number: int
    hash: str
    parent: str
    timestamp: int
    base_fee: int
    transactions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Log:
    """An event of a contract; `index` counts within its block."""

    address: str
    topics: tuple[str, ...]
    data: bytes
    block_number: int
    block_hash: str
    transaction: str
    index: int


@dataclass(frozen=True)
class Receipt:
    """What a transaction came to; the gas price in wei."""

    transaction: str
    block_number: int
    block_hash: str
    succeeded: bool
    logs: tuple[Log, ...]
    gas_used: int
    effective_gas_price: int
    contract: str | None
    index: int


def plain(text: str, most: int = 300) -> str:
    """Somebody else's text as a part of one line: without line ends and control characters, and not endless."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    return " ".join(printable.split())[:most]


def _shown(value: object) -> str:
    return plain(repr(value), 80)


def number(value: object) -> int:
    """A quantity: 0x and hexadecimal digits. Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{1,64}", value):
        raise ValueError(f"{_shown(value)} is no quantity")
    return int(value, 16)


def octets(value: object) -> bytes:
    """Bytes as hexadecimal digits. Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(r"0x(?:[0-9a-fA-F]{2})*", value):
        raise ValueError(f"{_shown(value)} is not hexadecimal")
    return bytes.fromhex(value[2:])


def hash32(value: object) -> str:
    """A hash, in lower case. Raises ValueError."""
    if len(octets(value)) != 32:
        raise ValueError(f"{_shown(value)} is no hash")
    return str(value).lower()


def address(value: object) -> str:
    """An address, checksummed. Raises ValueError."""
    if len(octets(value)) != 20:
        raise ValueError(f"{_shown(value)} is no address")
    return to_checksum_address(str(value))


def block(answer: Mapping[str, Any]) -> Block:
    """A block of an answer. Raises ValueError, KeyError."""
    if answer.get("baseFeePerGas") is None:
        raise ValueError("a block without a base fee: chains without EIP-1559 are not supported")
    return Block(
        number=number(answer["number"]),
        hash=hash32(answer["hash"]),
        parent=hash32(answer["parentHash"]),
        timestamp=number(answer["timestamp"]),
        base_fee=number(answer["baseFeePerGas"]),
        transactions=tuple(hash32(one) for one in answer["transactions"]),
    )


def log(answer: Mapping[str, Any]) -> Log:
    """A log of an answer. Raises ValueError, KeyError."""
    if answer.get("removed"):
        raise ValueError("a log of a block that is not in the chain any more")
    return Log(
        address=address(answer["address"]),
        topics=tuple(hash32(topic) for topic in answer["topics"]),
        data=octets(answer["data"]),
        block_number=number(answer["blockNumber"]),
        block_hash=hash32(answer["blockHash"]),
        transaction=hash32(answer["transactionHash"]),
        index=number(answer["logIndex"]),
    )


def receipt(answer: Mapping[str, Any]) -> Receipt:
    """A receipt of an answer. Raises ValueError, KeyError."""
    status = number(answer["status"])
    if status not in (0, 1):
        raise ValueError(f"a receipt with the status {status}")
    contract = answer.get("contractAddress")
    return Receipt(
        transaction=hash32(answer["transactionHash"]),
        block_number=number(answer["blockNumber"]),
        block_hash=hash32(answer["blockHash"]),
        succeeded=status == 1,
        logs=tuple(log(one) for one in answer["logs"]),
        gas_used=number(answer["gasUsed"]),
        effective_gas_price=number(answer["effectiveGasPrice"]),
        contract=None if contract is None else address(contract),
        index=number(answer["transactionIndex"]),
    )
