"""Calls, results and events of a contract in and out of bytes, by its ABI (Solidity's contract ABI specification)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ledger.chain.answers import Log

Item = Mapping[str, Any]


class Abi:
    """The functions, errors and events of a contract; none of them is overloaded."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.functions = {item["name"]: item for item in items if item["type"] == "function"}
        self.errors = [item for item in items if item["type"] == "error"]
        self.events = {topic(item): item for item in items if item["type"] == "event"}
        constructors: list[Sequence[Item]] = [item["inputs"] for item in items if item["type"] == "constructor"]
        self._constructor = constructors[0] if constructors else []

    def call(self, function: str, *arguments: object) -> bytes:
        """The data of a call."""
        inputs = self.functions[function]["inputs"]
        return keccak(text=signature(self.functions[function]))[:4] + encode([kind(one) for one in inputs], arguments)

    def constructor(self, *arguments: object) -> bytes:
        """What follows the code in the data that makes the contract."""
        return encode([kind(one) for one in self._constructor], arguments)

    def result(self, function: str, data: bytes) -> Any:
        """What a call returned: a value, or a dictionary where it is a struct; hashes as 0x and 64 digits.

        Raises ValueError where it is none.
        """
        (output,) = self.functions[function]["outputs"]
        return _decoded([output], data)[0]

    def event(self, log: Log) -> tuple[str, dict[str, Any]] | None:
        """An event's name and values, or None where this ABI has no such event. Raises ValueError."""
        item = self.events.get(log.topics[0]) if log.topics else None
        if item is None:
            return None
        indexed = [one for one in item["inputs"] if one["indexed"]]
        others = [one for one in item["inputs"] if not one["indexed"]]
        topics = b"".join(bytes.fromhex(topic[2:]) for topic in log.topics[1:])
        names = [one["name"] for one in (*indexed, *others)]
        return item["name"], dict(zip(names, _decoded(indexed, topics) + _decoded(others, log.data), strict=True))


def kind(item: Item) -> str:
    """The canonical type of a parameter; a struct's is the tuple of its members'."""
    if "components" not in item:
        return str(item["type"])
    return f"({','.join(kind(one) for one in item['components'])}){item['type'].removeprefix('tuple')}"


def signature(item: Item) -> str:
    """The canonical signature of a function, event or error."""
    return f"{item['name']}({','.join(kind(one) for one in item['inputs'])})"


def topic(item: Item) -> str:
    """The hash by which logs name an event."""
    return "0x" + keccak(text=signature(item)).hex()


def _decoded(items: Sequence[Item], data: bytes) -> list[Any]:
    try:
        values = decode([kind(one) for one in items], data)
    except (DecodingError, ValueError, OverflowError) as error:
        raise ValueError("data that the contract's ABI does not explain") from error
    return [_named(item, value) for item, value in zip(items, values, strict=True)]


def _named(item: Item, value: Any) -> Any:
    if item["type"] == "address":
        return to_checksum_address(value)
    if item["type"] == "tuple":
        return {one["name"]: _named(one, each) for one, each in zip(item["components"], value, strict=True)}
    if item["type"] == "bytes32":
        return "0x" + value.hex()
    return value
